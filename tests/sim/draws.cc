// What the operations of a run are about: trees, keys, values, drawn by the seed.
#include <fmt/format.h>

#include <algorithm>

#include "tests/sim/run.hh"

namespace pleach::sim {

/// The next key of a stream, or, as often, one that has been.
std::string run::draw_of_stream() {
  u64 k = random_.below(config_.streams);
  u64 most = config_.key_space / config_.streams;
  u64 n = random_.chance(500) ? streams_[k]++ % most : random_.below(streams_[k] % most + 1);
  return config_.key_shape == 5 ? fmt::format("{:06}.{}", n, k) : fmt::format("{}/{:06}", k, n);
}

/// Key `n` of groups that share more than nodes hold of them, and differ behind it; among them
/// short ones, such that begin many others, cut around 1 KiB, and such of several blocks.
std::string run::long_key(u64 n) const {
  static constexpr u32 shared[] = {1100, 1500, 2047, 3000};
  const u64 group = n % config_.long_groups, i = n / config_.long_groups;
  std::string s(shared[group], static_cast<char>('a' + group));
  if (i % 13 == 5) return s.substr(0, 1021 + i % 7);
  if (i % 11 == 7) return s.substr(0, 3) + fmt::format("{:04}", i);
  s += fmt::format("{:05}", i);
  if (i % 7 == 3) s.append(i * 37 % (i % 3 == 0 ? 20'000 : 1500), '~');
  return s;
}

std::string run::draw_key() {
  if (config_.streams != 0) return draw_of_stream();
  u64 n = random_.below(config_.key_space);
  switch (config_.key_shape) {
    case 9:
      return long_key(n);
    case 7: {
      if (n % 3 == 0) return std::string(40, 'z') + static_cast<char>(n / 3);
      std::string s(n / 3, 'a');
      for (u64 i = 0; i < s.size(); ++i) s[i] = static_cast<char>('a' + i % 3);
      return s;
    }
    case 0:
      return fmt::format("key{:06}", n);
    case 1:
      return n == 0 ? "" : fmt::format("{}", n * 7919 % 10007);
    case 2:
      return std::string(60 + n % 40, 'p') + fmt::format("{:05}", n);
    case 3: {
      u64 w = mix64(n + 1);
      std::string s(reinterpret_cast<const char*>(&w), 8);
      return s.substr(0, 1 + w % 8) + fmt::format("{}", n);
    }
    case 8:  // neighbours differ at their end only: separators are long, and trees high
      return fmt::format("{:03}{}{:02}", n / 64, std::string(220, 'k'), n % 64);
    default: {
      u32 most = config_.max_node_blocks >= 4 ? 900 : 300;
      std::string s = fmt::format("{:04}", n);
      s.append(mix64(n) % most, static_cast<char>('a' + n % 26));
      return s;
    }
  }
}

bool run::flags_stated(const btree::tree& t) const {
  return config_.record_flags_per_mille != 0 && !t.fixed_leaves;
}

fixed_lengths run::lengths_of(const std::string& tree) const {
  return config_.lengths[index_of(tree)];
}

bool run::takes_long_keys(const std::string& tree) const {
  return !order_of(tree).reversed && lengths_of(tree).key == 0;
}

u32 run::longest_key(const std::string& tree) const {
  return order_of(tree).reversed ? inline_key_bytes : longest_key_bytes;
}

/// `key` as something to begin or to end at in the tree, which need not be a key of it.
std::string run::sought_in(const std::string& tree, std::string key) const {
  if (key.size() <= inline_key_bytes || takes_long_keys(tree)) return key;
  return key.substr(key.size() - inline_key_bytes);
}

/// Where a range or a search begins or ends: a key; of long ones also what they begin with, and
/// what goes on behind them.
std::string run::draw_edge(const std::string& tree) {
  std::string key = draw_key();
  if (config_.long_groups != 0) {
    const u64 how = random_.below(8);
    if (how == 0) key.resize(random_.below(key.size() + 1));
    if (how == 1) key.resize(std::min(key.size(), 1022 + random_.below(5)));
    if (how == 2) key += static_cast<char>(random_.below(2) * '+');
  }
  return sought_in(tree, std::move(key));
}

/// The end of what is too long tells keys apart, and what is too short goes on. A tree with a
/// comparator takes no empty key.
std::string run::shaped(const std::string& tree, std::string key) const {
  if (key.empty() && order_of(tree).reversed) key = "0";
  const u32 length = lengths_of(tree).key;
  if (length == 0) return sought_in(tree, std::move(key));
  if (key.size() > length) return key.substr(key.size() - length);
  key.resize(length, 'x');
  return key;
}

/// A wave that shrinks takes neighbours one after the other, so that leaves become sparse, and
/// empty.
bool run::draw_erase() {
  if (full_) return random_.chance(800);
  bool shrinking = config_.wave != 0 && (in_cycle_ / config_.wave) % 2 == 1;
  return random_.chance(shrinking ? 900 : config_.delete_per_mille);
}

std::string run::draw_present_key(const std::string& tree) {
  const history::tree_history& t = history_.tree(tree);
  auto at = t.upper_bound(random_.chance(700) ? erased_ : draw_key());
  for (u32 tries = 0; tries < 200; ++tries) {
    if (at == t.end()) at = t.begin();
    if (at == t.end()) break;
    if (!at->second.empty() && at->second.back().value) return erased_ = at->first;
    ++at;
  }
  return shaped(tree, draw_key());
}

value_t run::draw_value(const std::string& tree) {
  value_t v{random_.next() | 1, 0};
  u32 quarter = config_.max_node_blocks * 1000;
  if (config_.large_per_mille != 0 && random_.chance(config_.large_per_mille) &&
      lengths_of(tree).value == 0) {
    v.length = static_cast<u32>(random_.below(config_.large_bytes));
    return v;
  }
  switch (config_.value_class) {
    case 0:
      v.length = static_cast<u32>(random_.below(40));
      break;
    case 1:
      v.length = 20 + static_cast<u32>(random_.below(280));
      break;
    case 2:
      v.length = static_cast<u32>(random_.below(quarter));
      break;
    case 3:
      v.length = random_.chance(400) ? quarter + static_cast<u32>(random_.below(24 << 10))
                                     : static_cast<u32>(random_.below(300));
      break;
    case 6: {
      static constexpr u32 tenths[] = {3, 5, 9, 10, 11, 1000};
      u32 node = config_.max_node_blocks * block_bytes;
      u32 size = node * tenths[random_.below(random_.chance(200) ? 6 : 5)] / 10;
      v.length =
          random_.chance(800) ? static_cast<u32>(random_.below(20)) : std::min(size, 400u << 10);
      break;
    }
    case 5:
      v.length = 500 + static_cast<u32>(random_.below(12 << 10));
      break;
    default:
      v.length = random_.chance(30)    ? static_cast<u32>(random_.below(100 << 10))
                 : random_.chance(100) ? static_cast<u32>(random_.below(8 << 10))
                                       : static_cast<u32>(random_.below(200));
  }
  if (const u32 fixed = lengths_of(tree).value; fixed != 0) v.length = fixed;
  return v;
}

run::open_tree* run::draw_tree(std::string& name) {
  name = "tree" + std::to_string(random_.below(config_.trees));
  auto it = trees_.find(name);
  return it == trees_.end() || it->second.closing || it->second.loading ? nullptr : &it->second;
}

}  // namespace pleach::sim
