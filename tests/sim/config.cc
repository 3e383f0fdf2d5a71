#include "tests/sim/config.hh"

#include <fmt/format.h>

#include <algorithm>

#include "be/base/checksum.hh"
#include "be/space_policy.hh"
#include "btree/node_format.hh"

namespace pleach::sim {

namespace {
template <class T, std::size_t N>
T one_of(random_stream& r, const T (&list)[N]) {
  return list[r.below(N)];
}

void lean(config& c, hint h, random_stream& r) {
  switch (h) {
    case hint::ANY:
      break;
    case hint::SMALL_LOG:
      c.log_blocks = 32 + r.below(8);
      c.max_node_blocks = 1;
      c.ops_per_cycle = 600;
      break;
    case hint::MAPS:
      c.max_run_blocks = 1;
      c.large_per_mille = 500;
      c.large_bytes = 400 << 10;
      c.key_space = 30;
      c.write_per_mille = 800;
      c.ops_per_cycle = 250;
      c.durable_per_mille = 800;
      break;
    case hint::PATCHES:
      c.patch_per_mille = 600;
      c.max_run_blocks = 40;
      c.large_per_mille = 500;
      c.large_bytes = 400 << 10;
      c.volume_bytes = 16 << 20;
      c.key_space = 30;
      c.write_per_mille = 800;
      break;
    case hint::ORDERS:
      for (key_rules& k : c.rules) k.order = btree::ORDER_REGISTERED;
      c.key_space = 2000;
      c.key_shape = 2;
      c.write_per_mille = 700;
      c.ops_per_cycle = 500;
      break;
    case hint::BULK:
      c.durable_per_mille = 800;
      c.image_per_mille = 250;
      break;
    case hint::BULK_SUMS:
      c.max_node_blocks = 1;
      c.key_space = 1500;
      for (u16& flags : c.tree_flags) flags = btree::TREE_COUNTED | btree::TREE_DIGEST;
      c.sums_per_mille = 100;
      break;
    case hint::AGGREGATES:
      c.value_class = 1;
      c.max_node_blocks = 1;
      c.key_space = 1500;
      c.ops_per_cycle = 500;
      c.write_per_mille = 800;
      for (u16& flags : c.tree_flags) flags = btree::TREE_COUNTED | btree::TREE_DIGEST;
      c.sums_per_mille = 500;
      break;
    case hint::EXTENTS:
      c.value_class = 3;
      c.write_per_mille = 800;
      c.durable_per_mille = 800;
      break;
    case hint::SPLITS:
      c.value_class = 1;
      c.key_space = 2000;
      c.ops_per_cycle = 500;
      c.write_per_mille = 900;
      c.delete_per_mille = 100;
      break;
    case hint::DELETES:
      c.key_space = 300;
      c.value_class = 2;
      c.ops_per_cycle = 600;
      c.write_per_mille = 900;
      c.delete_per_mille = 480;
      break;
    case hint::DROPS:
      c.ddl_per_mille = 60;
      c.ops_per_cycle = 400;
      break;
    case hint::FAULT_FLUSH:
      c.trouble = trouble_kind::FLUSH;
      break;
    case hint::FAULT_WRITE:
      c.trouble = trouble_kind::WRITE;
      break;
    case hint::SMALL_CACHE:
      c.extra_cache = 0;
      c.value_class = 2;
      c.key_space = 2500;
      c.ops_per_cycle = 900;
      break;
    case hint::MERGES:
      c.max_node_blocks = 1;
      c.log_blocks = 64;
      c.key_shape = 2;
      c.key_space = 1500;
      c.value_class = 1;
      c.batch_max = 20;
      c.batch_per_mille = 500;
      c.write_per_mille = 950;
      c.ops_per_cycle = 3000;
      c.trees = 1;
      c.wave = 400;
      c.cycles = 2;
      break;
    case hint::BIG_GROUPS:
      c.max_node_blocks = 1;
      c.log_blocks = 400;
      c.value_class = 2;
      c.batch_max = 40;
      c.batch_per_mille = 900;
      c.write_per_mille = 950;
      c.in_flight = 16;
      c.extra_cache = 2 << 20;
      c.durable_per_mille = 1000;
      c.key_space = 2000;
      c.image_per_mille = 250;
      break;
    case hint::FAULT_SHORT:
      c.trouble = trouble_kind::SHORT;
      break;
    case hint::CLOSE:
      c.clean_close_per_mille = 1000;
      break;
    case hint::DAMAGE:
      c.damage_per_mille = 1000;
      break;
    case hint::VERSIONS:
      c.max_node_blocks = 1;
      c.value_class = 3;
      c.key_space = 1500;
      c.ops_per_cycle = 600;
      c.write_per_mille = 700;
      c.trees = 2;
      break;
    case hint::RANGES:
      c.range_per_mille = 8;
      c.key_shape = 8;
      c.value_class = 1;
      c.max_node_blocks = 1;
      c.log_blocks = 200;
      c.key_space = 2000;
      c.trees = 1;
      c.ops_per_cycle = 1500;
      c.write_per_mille = 700;
      c.delete_per_mille = 30;
      c.batch_max = 20;
      c.batch_per_mille = 500;
      break;
    case hint::LONG_KEYS:  // draw_long_keys does the rest
      c.write_per_mille = 800;
      c.delete_per_mille = 300;
      break;
    case hint::RECOVERY:
      c.cycles = 6;
      c.ops_per_cycle = 150;
      c.clean_close_per_mille = 0;
      break;
  }
  if (h != hint::ANY && h != hint::FAULT_FLUSH && h != hint::FAULT_WRITE && h != hint::FAULT_SHORT)
    c.trouble = trouble_kind::NONE;
}
/// From a stream of its own, like growth.
void draw_lengths(config& c) {
  random_stream r(mix64(c.seed + 0xf1ed));
  static constexpr fixed_lengths shapes[] = {{8, 8}, {24, 24}, {4, 1},  {31, 200}, {256, 700},
                                             {8, 8}, {16, 0},  {0, 32}, {16, 32}};
  if (!r.chance(500)) return;
  for (u32 i = 0; i < 4; ++i)
    if (r.chance(700)) c.lengths[i] = one_of(r, shapes);
}
/// Values with maps: many runs of few blocks, or few long ones.
void draw_large(config& c) {
  random_stream r(mix64(c.seed + 0x1a46e));
  if (r.chance(450)) c.max_run_blocks = one_of(r, {1u, 2u, 5u, 16u, 40u});
  if (!r.chance(300)) return;
  c.large_per_mille = one_of(r, {20u, 100u, 300u});
  c.large_bytes = one_of(r, {100u << 10, 500u << 10, 2200u << 10});
  c.volume_bytes = std::max(c.volume_bytes, (u64{6} << 20) + r.below(u64{12} << 20));
  c.key_space = std::min(c.key_space, 200u);
}
/// Trees as production has them; or keys and values that have broken trees before.
void draw_shapes(config& c) {
  random_stream r(mix64(c.seed + 0x5a9e5));
  switch (r.below(8)) {
    case 0: {  // eight trees of the shapes that motr has in production
      static constexpr fixed_lengths lengths[] = {{8, 8},  {8, 40}, {24, 0}, {0, 0},
                                                  {20, 0}, {32, 0}, {0, 0},  {24, 24}};
      static constexpr u32 blocks[] = {1, 1, 4, 2, 2, 2, 16, 16};
      std::copy(std::begin(lengths), std::end(lengths), c.lengths);
      std::copy(std::begin(blocks), std::end(blocks), c.node_blocks);
      c.trees = 8;
      c.max_node_blocks = 16;
      c.log_blocks = 512 + r.below(200);
      c.volume_bytes = (u64{16} << 20) + r.below(u64{8} << 20);
      c.value_class = 1;
      break;
    }
    case 1:
    case 2:  // streams of ascending keys that stand among each other, or each in a range of its own
      c.key_shape = r.chance(500) ? 5 : 6;
      c.streams = 5 + static_cast<u32>(r.below(5));
      c.key_space = c.streams * (5 + static_cast<u32>(r.below(195)));
      break;
    case 3:  // keys that begin one another, that differ in the last byte, and the empty one
      c.key_shape = 7;
      c.key_space = one_of(r, {30u, 200u, 900u});
      break;
    case 4:  // values of about a node, and of many, among tiny ones
      c.value_class = 6;
      c.key_space = one_of(r, {40u, 150u});
      c.volume_bytes = (u64{10} << 20) + r.below(u64{10} << 20);
      break;
    default:
      return;
  }
  if (c.key_shape < 5 || !r.chance(500)) return;
  for (fixed_lengths& l : c.lengths) l = {};  // keys as they are drawn
}
/// Versions of leaves, checksums and flags of records, upgrades.
void draw_versions(config& c) {
  random_stream r(mix64(c.seed + 0x7e25));
  for (u32 i = 0; i < std::size(c.new_leaves); ++i) {
    if (r.chance(300)) c.sums[i] = one_of(r, {u16{8}, u16{16}, u16{24}});
    c.new_leaves[i] = c.sums[i] != 0 || r.chance(400);
  }
  c.record_flags_per_mille = one_of(r, {0u, 0u, 30u, 500u});
  // Patches and bulk loads state none.
  if (c.patch_per_mille != 0 || c.bulk_per_mille != 0) c.record_flags_per_mille = 0;
  c.upgrade_per_mille = one_of(r, {0u, 20u, 100u});
}
/// From a stream of its own: what it draws does not change the rest of a seed.
void draw_growth(config& c) {
  random_stream r(mix64(c.seed + 0x960f));
  if (r.chance(250)) c.grow_per_mille = one_of(r, {5u, 30u});
  if (r.chance(60)) {  // the second group of pages begins
    c.volume_bytes = (u64{group_blocks_max} - 1 - r.below(600)) * block_bytes;
    c.grow_per_mille = 30;
  }
  draw_large(c);
  if (c.trouble == trouble_kind::NONE && r.chance(80)) c.trouble = trouble_kind::HANG;
}
/// Ranges of values are written; large ones with maps, small ones too.
void draw_patches(config& c) {
  random_stream r(mix64(c.seed + 0x9a7c4));
  if (!r.chance(400)) return;
  c.patch_per_mille = one_of(r, {200u, 600u});
  if (r.chance(300)) return;
  c.max_run_blocks = one_of(r, {1u, 16u, 40u});
  c.large_per_mille = one_of(r, {100u, 300u});
  c.large_bytes = one_of(r, {300u << 10, 900u << 10});
  c.volume_bytes = std::max(c.volume_bytes, (u64{8} << 20) + r.below(u64{12} << 20));
  c.key_space = std::min(c.key_space, 200u);
}
/// Multi-gets, counts, and reads within a range.
void draw_multi(config& c) {
  random_stream r(mix64(c.seed + 0x3417));
  c.multi_per_mille = one_of(r, {0u, 150u, 500u});
  c.bound_per_mille = one_of(r, {0u, 300u});
}
/// Trees with a comparator, of integers, and such that store keys or separators whole.
void draw_orders(config& c) {
  random_stream r(mix64(c.seed + 0x0dde5));
  if (r.chance(400)) return;
  for (u32 i = 0; i < std::size(c.rules); ++i) {
    c.rules[i].order = one_of<u16>(r, {1, 1, 2, 3, 4, 4});
    c.rules[i].flags = one_of<u16>(r, {0, btree::TREE_NO_PREFIX, btree::TREE_NO_TRUNCATION,
                                       btree::TREE_NO_PREFIX | btree::TREE_NO_TRUNCATION});
    const bool integers = c.rules[i].order == 2 || c.rules[i].order == 3;
    u32& key = c.lengths[i].key;
    if (integers && (key == 0 || key > btree::max_integer_bytes))
      key = one_of(r, {1u, 4u, 8u, 16u});
  }
}
/// Bulk loads need empty trees: some are dropped, and made again.
void draw_bulk(config& c) {
  random_stream r(mix64(c.seed + 0xb01c));
  if (r.chance(400)) return;
  c.bulk_per_mille = one_of(r, {100u, 500u});
  c.bulk_records = one_of(r, {10u, 200u, 2000u});
  if (r.chance(600)) c.ddl_per_mille = std::max(c.ddl_per_mille, one_of(r, {20u, 60u}));
}
/// Counted trees, and such with digests: only in later seeds, which no planted bug depends on.
void draw_aggregates(config& c) {
  random_stream r(mix64(c.seed + 0xa66e6));
  if (!r.chance(600)) return;
  for (u16& flags : c.tree_flags)
    flags = one_of(r, {u16{0}, u16{btree::TREE_COUNTED},
                       static_cast<u16>(btree::TREE_COUNTED | btree::TREE_DIGEST)});
  c.sums_per_mille = one_of(r, {100u, 500u});
}
/// Ranges that are deleted: of trees that are high enough to have branches.
void draw_ranges(config& c) {
  random_stream r(mix64(c.seed + 0xc07));
  if (!r.chance(600)) return;
  c.range_per_mille = one_of(r, {2u, 8u, 40u});
  if (!r.chance(700)) return;
  c.range_per_mille = one_of(r, {8u, 15u, 30u});
  c.key_shape = one_of(r, {2u, 8u, 8u, 8u});
  c.key_space = one_of(r, {1000u, 2000u, 4000u});
  c.cycles = 1 + static_cast<u32>(r.below(3));
  c.ops_per_cycle = 500 + static_cast<u32>(r.below(2000));
  c.delete_per_mille = one_of(r, {20u, 100u});
  c.write_per_mille = 800;
  c.trees = 1 + static_cast<u32>(r.chance(200));
  c.batch_max = 12;
  c.batch_per_mille = 800;
  c.extra_cache += r.chance(700) ? 1 << 20 : 0;
  c.value_class = one_of(r, {0u, 1u, 1u, 4u});
  c.volume_bytes += u64{4} << 20;
  if (r.chance(800)) c.log_blocks += 200;
}
/// Keys above 1 KiB, in groups that share more than nodes hold of them. Some trees keep their
/// order, or their length: then the ends of these keys are theirs.
void draw_long_keys(config& c) {
  random_stream r(mix64(c.seed + 0x10e6));
  if (c.seed > 1000 && !r.chance(300)) return;
  c.key_shape = 9;
  c.streams = 0;
  c.long_groups = 1 + static_cast<u32>(r.below(4));
  c.key_space = one_of(r, {30u, 150u, 500u, 500u});
  for (u32 i = 0; i < std::size(c.rules); ++i) {
    if (r.chance(150)) continue;
    c.lengths[i].key = 0;
    c.rules[i].order = btree::ORDER_BYTES;
  }
  // Separators of 1 KiB need nodes that hold some of them, and every key a block.
  c.max_node_blocks = one_of(r, {4u, 4u, 16u});
  for (u32& blocks : c.node_blocks) blocks = std::min(blocks, c.max_node_blocks);
  c.log_blocks = std::max<u64>(c.log_blocks, c.max_node_blocks == 16 ? 512 : 160);
  c.volume_bytes += (u64{6} << 20) + r.below(u64{8} << 20);
  if (r.chance(500)) c.value_class = 0;
  if (!r.chance(600)) return;
  c.trees = 1;  // and enough in it that its separators are long
  c.ops_per_cycle = 300 + static_cast<u32>(r.below(600));
  c.write_per_mille = 800;
  c.delete_per_mille = one_of(r, {100u, 300u});
  c.batch_per_mille = 500;
  c.batch_max = 12;
}
}  // namespace

config config::draw(u64 seed, hint h) {
  random_stream r(mix64(seed + 0x51a7));
  config c;
  c.seed = seed;
  c.volume_bytes = (u64{4} << 20) + r.below(13) * (u64{1} << 20);
  c.max_node_blocks = one_of(r, {1u, 1u, 2u, 4u, 4u});
  u64 log_min = c.max_node_blocks == 4 ? 128 : c.max_node_blocks == 2 ? 64 : 32;
  c.log_blocks = log_min + (r.chance(400) ? 0 : r.below(160));
  c.extra_cache = r.chance(500) ? 0 : r.below(2 << 20);
  c.log_buffer_bytes = r.chance(500) ? 0 : 128 << 10;
  c.trees = 1 + static_cast<u32>(r.below(4));
  c.key_space = one_of(r, {20u, 200u, 600u, 2000u});
  c.key_shape = static_cast<u32>(r.below(5));
  c.value_class = static_cast<u32>(r.below(5));
  c.in_flight = 1 + static_cast<u32>(r.below(16));
  c.cycles = 1 + static_cast<u32>(r.below(5));
  c.ops_per_cycle = 60 + static_cast<u32>(r.below(400));
  c.durable_per_mille = one_of(r, {0u, 200u, 700u, 1000u});
  c.write_per_mille = one_of(r, {400u, 700u, 950u});
  c.delete_per_mille = one_of(r, {50u, 250u, 450u});
  c.batch_per_mille = one_of(r, {0u, 200u, 600u});
  c.batch_max = one_of(r, {2u, 6u, 20u});
  c.ddl_per_mille = one_of(r, {0u, 5u, 20u});
  c.iterate_per_mille = one_of(r, {20u, 150u});
  c.cancel_per_mille = one_of(r, {0u, 0u, 60u});
  c.deadline_per_mille = one_of(r, {0u, 0u, 60u});
  c.chaos_per_mille = one_of(r, {0u, 5u, 30u, 150u});
  c.image_per_mille = one_of(r, {20u, 80u, 250u});
  c.clean_close_per_mille = one_of(r, {0u, 250u, 1000u});
  c.wave = one_of(r, {0u, 0u, 60u, 200u});
  c.damage_per_mille = one_of(r, {0u, 50u});
  if (r.chance(80)) {  // the volume fills up
    c.volume_bytes = u64{4} << 20;
    c.value_class = 5;
    c.write_per_mille = 950;
    c.delete_per_mille = 50;
    c.ops_per_cycle = 500;
    c.key_space = 2000;
  }
  if (r.chance(60)) lean(c, hint::MERGES, r);
  if (r.chance(60)) lean(c, hint::BIG_GROUPS, r);
  if (r.chance(250)) c.trouble = static_cast<trouble_kind>(1 + r.below(7));
  lean(c, h, r);
  if (h == hint::ANY) draw_growth(c);
  if (h == hint::ANY) draw_lengths(c);
  if (seed > 1000) draw_patches(c);
  if (seed > 1000) draw_multi(c);
  if (seed > 1000) draw_ranges(c);
  if (seed > 1000) draw_shapes(c);
  if (seed > 1000) draw_orders(c);
  if (seed > 1000 || h == hint::BULK || h == hint::BULK_SUMS) draw_bulk(c);
  if (seed > 1000 || h == hint::VERSIONS) draw_versions(c);
  if (seed > 1000) draw_aggregates(c);
  if (seed > 1000 || h == hint::LONG_KEYS) draw_long_keys(c);
  return c;
}

std::string config::words() const {
  std::string fixed;
  for (const fixed_lengths& l : lengths)
    if (l.key != 0 || l.value != 0) fixed += fmt::format(" {}+{}", l.key, l.value);
  if (!fixed.empty()) fixed = ", lengths" + fixed;
  for (const key_rules& k : rules)
    if (k.order != 1 || k.flags != 0) fixed += fmt::format(", order {}/{}", k.order, k.flags);
  if (streams != 0) fixed += fmt::format(", streams {}", streams);
  if (long_groups != 0) fixed += fmt::format(", long keys in {} groups", long_groups);
  fixed += ", leaves";
  for (u32 i = 0; i < std::size(new_leaves); ++i)
    fixed += fmt::format(" {}{}", new_leaves[i] ? 2 : 1, sums[i] != 0 ? "+sums" : "");
  fixed += fmt::format(", flags {}, upgrades {}", record_flags_per_mille, upgrade_per_mille);
  for (u16 flags : tree_flags)
    if (flags != 0) fixed += (flags & btree::TREE_DIGEST) ? ", digests" : ", counted";
  return fmt::format(
      "volume {} KiB, log {} blocks, nodes to {} blocks, cache +{} KiB, trees {}, keys {} shape "
      "{}, values {}, in flight {}, cycles {} x {} ops, "
      "durable {}, writes {}, deletes {}, batches {} of {}, wave {}, ddl {}, chaos {}, grows {}, "
      "runs of {} blocks, large {} to {} KiB, trouble {}{}, multi {}, bounds {}, bulk {} "
      "of {}, ranges {}",
      volume_bytes >> 10, log_blocks, max_node_blocks, extra_cache >> 10, trees, key_space,
      key_shape, value_class, in_flight, cycles, ops_per_cycle, durable_per_mille, write_per_mille,
      delete_per_mille, batch_per_mille, batch_max, wave, ddl_per_mille, chaos_per_mille,
      grow_per_mille, max_run_blocks, large_per_mille, large_bytes >> 10, static_cast<int>(trouble),
      fixed, multi_per_mille, bound_per_mille, bulk_per_mille, bulk_records, range_per_mille);
}

}  // namespace pleach::sim
