#include "store/core.hh"

#include <fmt/format.h>

#include <algorithm>

#include "be/base/planted.hh"
#include "be/block_buffer.hh"
#include "btree/load_op.hh"
#include "btree/read_op.hh"
#include "btree/reclaim_op.hh"

namespace pleach::store_layer {

namespace {

constexpr u64 min_log_buffer = 128 << 10, max_log_buffer = 1 << 20;
constexpr u64 min_index = 1 << 20, max_index = 32 << 20;

/// How the budget is cut.
struct budget {
  u64 log_buffers, index, cache;
};
budget cut(const core_options& o, u32 max_node_blocks) {
  budget b;
  b.log_buffers = o.log_buffer_bytes
                      ? o.log_buffer_bytes
                      : std::clamp(o.cache_bytes / 32, min_log_buffer, max_log_buffer);
  if (o.read_only) b.log_buffers = 0;
  b.index = std::clamp(o.cache_bytes / 4, std::min<u64>(min_index, o.cache_bytes / 4), max_index);
  u64 scratch = u64{max_node_blocks} * block_bytes;
  // The index of a writable open is gone before the cache fills; that of a read-only one stays.
  u64 fixed = b.log_buffers + scratch + (o.read_only ? b.index : 0);
  b.cache = o.cache_bytes > fixed ? o.cache_bytes - fixed : 0;
  return b;
}

/// RETURNS: the least whole budget, in MiB, of which the cache gets its minimum.
u64 least_budget_mib(const core_options& given, const cache::cache_options& co) {
  const u64 least = cache::page_cache::minimum_budget(co);
  core_options o = given;
  u64 mib = 0;
  do o.cache_bytes = ++mib << 20;
  while (cut(o, co.max_page_blocks).cache < least);
  return mib;
}

void drive(sm::reactor& loop, sm::op& op) {
  loop.start(op);
  if (status s = loop.run_until(op); !s) op.out.code = s.error();
}

}  // namespace

std::unexpected<trouble> in_trouble(errc code, std::string message) {
  return std::unexpected<trouble>(trouble{code, std::move(message)});
}

open_tree::open_tree(std::shared_ptr<core> c) : owner(std::move(c)), t(*owner->ctx) {}

attempt<void> core::format(sm::environment& env, io::device& dev, const format_spec& spec) {
  const u64 bytes = spec.size_bytes ? std::min(spec.size_bytes, dev.size()) : dev.size();
  result<geometry> g = plan_geometry(bytes, spec.log_bytes, spec.max_node_blocks);
  if (!g)
    return in_trouble(
        g.error(), fmt::format("{}: a volume of {} bytes cannot be laid out with a log of {} bytes",
                               sentence_of(g.error()), bytes, spec.log_bytes));
  sm::reactor loop(env);
  loop.add_poller(dev);
  block_buffer root(block_bytes);
  page_addr addr(first_free_block(*g), btree::root_blocks);
  u64 store_id = load_le<u64>(spec.uuid);
  u64 map[block_bytes / granule_bytes] = {};
  capture_state capture{map, 0, 0};
  btree::format_root({root.data(), block_bytes, capture}, addr, store_id, tree_catalogue,
                     format_generation);
  initial_page first{addr, root.data()};
  status done = format_volume(loop, dev, *g, spec.uuid, {&first, 1}, spec.progress);
  loop.remove_poller(dev);
  if (!done)
    return in_trouble(done.error(), fmt::format("formatting: {}", sentence_of(done.error())));
  return {};
}

attempt<std::shared_ptr<core>> core::open(sm::environment& env, std::unique_ptr<io::device> device,
                                          const core_options& options, const std::string& name) {
  auto c = std::make_shared<core>(env);
  c->options = options;
  c->name = name;
  c->dev = std::move(device);
  c->loop.add_poller(*c->dev);
  if (auto up = c->bring_up(); !up) {
    c->abandon();
    return std::unexpected(up.error());
  }
  return c;
}

attempt<void> core::bring_up() {
  result<volume> v = read_volume(loop, *dev);
  if (!v) {
    std::string unknown = v.error() == errc::newer_format ? unknown_features(loop, *dev) : "";
    return in_trouble(v.error(), fmt::format("{}: {}{}{}", name, sentence_of(v.error()),
                                             unknown.empty() ? "" : ": ", unknown));
  }
  vol = *v;
  if (!options.read_only && (vol.upgraded_read_only || dev->limit().read_only))
    return in_trouble(errc::read_only,
                      fmt::format("{}: read-only: it can be opened for reading only", name));
  u32 node_blocks = vol.super.max_node_blocks;
  budget b = cut(options, node_blocks);

  cache::cache_options co;
  co.budget_bytes = b.cache;
  co.max_page_blocks = node_blocks;
  co.store_id = vol.store_id();
  co.read_only = options.read_only;
  auto pc = cache::page_cache::make(loop, *dev, co);
  const u64 least = least_budget_mib(options, co);
  if (!pc && options.cache_bytes >> 20 >= least)
    return in_trouble(pc.error(), fmt::format("{}: a cache of {} bytes is too large to be had",
                                              name, options.cache_bytes));
  if (!pc)
    return in_trouble(
        pc.error(),
        fmt::format("{}: a cache of {} bytes is too small for pages of up to {} bytes: {}; "
                    "give at least {} MiB",
                    name, options.cache_bytes, u64{node_blocks} * block_bytes,
                    sentence_of(pc.error()), least));
  pages = std::move(*pc);
  pages->register_check(page_kind::leaf, btree::check_page_node);
  pages->register_check(page_kind::inner, btree::check_page_node);
  pages->start_daemon();

  txn::engine_options eo;
  eo.read_only = options.read_only;
  eo.log_buffer_bytes = b.log_buffers;
  eo.index_bytes = b.index;
  std::string report;
  bool was_clean = vol.super.clean_seq != 0;
  auto e = txn::engine::open(loop, *dev, *pages, vol, eo, &report);
  if (!e)
    return in_trouble(e.error(), fmt::format("{}: {}: {}", name, sentence_of(e.error()), report));
  engine = std::move(*e);
  if (!was_clean) recovery = report;

  scratch_ = std::make_unique<std::byte[]>(u64{node_blocks} * block_bytes);
  ctx.reset(new btree::context{*engine, *pages, loop});
  ctx->max_node_blocks = node_blocks;
  if (options.max_run_blocks != 0) ctx->max_run_blocks = options.max_run_blocks;
  ctx->orders = options.orders;
  ctx->scratch = scratch_.get();
  ctx->scratch_bytes = node_blocks * block_bytes;
  catalogue = std::make_unique<btree::tree>(*ctx);
  catalogue->id = tree_catalogue;
  catalogue->root = btree::catalogue_root(engine->root_block());
  catalogue->name = "(catalogue)";
  catalogue->node_blocks = std::min(4u, node_blocks);
  if (!options.read_only) return finish_drops();
  count_cuts();
  return {};
}

/// What a reader leaves as it is: branches that were cut off, and into which leaves still link.
void core::count_cuts() {
  std::string from, key;
  btree::tree_record record;
  for (;;) {
    attempt<bool> found = next_record(from, key, record);
    if (!found) ++ctx->cut_branches;  // there may be one in what cannot be read
    if (!found || !*found) return;
    ctx->cut_branches += record.state == btree::TREE_CUT;
  }
}

/// The next sound record of the catalogue; `from`: empty at first.
/// RETURNS: false: there is none.
attempt<bool> core::next_record(std::string& from, std::string& key, btree::tree_record& record) {
  std::string value;
  for (;;) {
    btree::read_op read;
    read.prepare(*catalogue, btree::seek::AT_LEAST, as_bytes(from), {&key, &value, nullptr});
    drive(loop, read);
    if (read.out.code == errc::not_found) return false;
    if (!is_ok(read.out.code))
      return in_trouble(read.out.code,
                        fmt::format("{}: reading the catalogue: {} (page {})", name,
                                    sentence_of(read.out.code), read.bad_page().block()));
    from = key + '\0';
    if (btree::parse_tree_record(as_bytes(value), record)) return true;
  }
}

/// What was cut off a tree goes first: dropping the tree would leave it without an owner's root.
attempt<void> core::finish_drops() {
  for (u16 state : {btree::TREE_CUT, btree::TREE_DROPPING}) {
    if (PLEACH_PLANTED("drop_not_resumed") && state == btree::TREE_DROPPING) continue;
    if (PLEACH_PLANTED("cut_not_resumed") && state == btree::TREE_CUT) continue;
    std::string from, key;
    btree::tree_record record;
    for (;;) {
      attempt<bool> found = next_record(from, key, record);
      if (!found) return std::unexpected(found.error());
      if (!*found) break;
      if (record.state != state) continue;
      if (auto done = finish_drop(key, record); !done) return done;
    }
  }
  return {};
}

attempt<void> core::finish_drop(const std::string& key, const btree::tree_record& record) {
  btree::tree t(*ctx), owner(*ctx);
  btree::adopt(t, record);
  auto op = std::make_unique<btree::reclaim_op>();
  if (record.state == btree::TREE_CUT) {
    std::string from, other;
    btree::tree_record of;
    attempt<bool> found = true;
    do {
      found = next_record(from, other, of);
      if (!found) return std::unexpected(found.error());
    } while (*found && (of.id != record.id || of.state == btree::TREE_CUT));
    const bool live = *found && of.state == btree::TREE_LIVE;
    if (live) btree::adopt(owner, of);
    op->prepare_cut(t, live ? &owner : nullptr, *catalogue, as_bytes(key), record, nullptr);
  } else {
    op->prepare(t, *catalogue, as_bytes(key), record);
  }
  drive(loop, *op);
  // A damaged page keeps the rest of that tree allocated; the store works on.
  if (is_ok(op->out.code) || op->out.code == errc::corrupt || op->out.code == errc::io) return {};
  return in_trouble(op->out.code, fmt::format("{}: reclaiming a dropped tree: {}", name,
                                              sentence_of(op->out.code)));
}

std::shared_ptr<open_tree> core::tree_for(const std::shared_ptr<core>& self,
                                          std::string_view tree_name,
                                          const btree::tree_record& record,
                                          std::string_view comparator) {
  auto found = trees_.find(tree_name);
  if (found != trees_.end())
    if (auto live = found->second.lock(); live && live->t.id == record.id) return live;
  auto made = std::make_shared<open_tree>(self);
  if (!btree::adopt(made->t, record, comparator)) return nullptr;
  made->t.name = tree_name;
  made->t.dropped = dropped_early_.contains(record.id);
  if (made->t.dropped) return made;
  trees_.insert_or_assign(std::string(tree_name), made);
  return made;
}

void core::forget(std::string_view tree_name, tree_id_t id) {
  if (creations_ != 0) dropped_early_.insert(id);
  auto found = trees_.find(tree_name);
  if (found == trees_.end()) return;
  if (auto live = found->second.lock()) live->t.dropped = true;
  trees_.erase(found);
}

attempt<void> core::close() {
  if (closed) return {};
  closed = true;
  for (auto& [tree_name, weak] : trees_)
    if (auto live = weak.lock()) live->t.dropped = true;
  status done = engine ? engine->close() : status{};
  abandon();
  if (!done)
    return in_trouble(done.error(),
                      fmt::format("{}: closing: {}", name, sentence_of(done.error())));
  return {};
}

void core::abandon() {
  closed = true;
  catalogue.reset();
  engine.reset();
  if (pages) {
    pages->stop(errc::closing);
    static_cast<void>(loop.run_while(
        [](void* p) { return !static_cast<cache::page_cache*>(p)->stopped(); }, pages.get()));
  }
  pages.reset();
  if (dev) {
    loop.remove_poller(*dev);
    dev.reset();
  }
  ctx.reset();
}

core::~core() {
  abandon();
}

attempt<void> core::grow(u64 new_bytes) {
  if (!dev->limit().resizable)
    return in_trouble(errc::unsupported,
                      fmt::format("{}: a block device has the size it has", name));
  // The file may be longer: growing was interrupted.
  if (new_bytes / block_bytes < vol.super.blocks)
    return in_trouble(errc::bad_argument,
                      fmt::format("{}: growing to {} bytes: too small, it has {} bytes already",
                                  name, new_bytes, u64{vol.super.blocks} * block_bytes));
  if (status s = engine->grow(new_bytes); !s)
    return in_trouble(s.error(), fmt::format("{}: growing to {} bytes: {}", name, new_bytes,
                                             sentence_of(s.error())));
  return {};
}

}  // namespace pleach::store_layer
