// What the tests of keys above 1 KiB share: sets of such keys, and a tree with a std::map beside it
// by which every answer is judged.
//
// What it is not: it knows nothing of how long keys are kept, but for the length up to which a key
// stands in its node.
#pragma once

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "tests/store/support.hh"

namespace store_test {

using key_list = std::vector<std::string>;
using model = std::map<std::string, std::string>;

inline constexpr std::size_t inline_bytes = 1024, longest_bytes = 1 << 20;

// --- sets of keys ---

/// Lengths around and above the edge; they differ in their first bytes already.
inline key_list random_lengths(u64 seed, u32 n) {
  std::mt19937_64 r(seed);
  key_list out;
  for (u32 i = 0; i < n; ++i) out.push_back(bytes_of(r(), inline_bytes - 24 + r() % 4000));
  return out;
}

/// `n` (at most 256) keys of the greatest length that differ in their last byte, and what they
/// begin with, cut at all lengths where something might change.
inline key_list longest_group(u32 n) {
  const std::string stem = bytes_of(77, longest_bytes - 1);
  key_list out;
  for (u32 i = 0; i < n; ++i) out.push_back(stem + static_cast<char>(i * 37 % 256));
  for (std::size_t at :
       {inline_bytes - 1, inline_bytes, inline_bytes + 1, inline_bytes + 2, 2 * inline_bytes - 1,
        2 * inline_bytes, 2 * inline_bytes + 1, 4 * inline_bytes, 4 * inline_bytes + 1,
        longest_bytes / 2, longest_bytes - 2, longest_bytes - 1})
    out.push_back(stem.substr(0, at));
  return out;
}

inline std::string digits(u64 i) {
  char text[24];
  std::snprintf(text, sizeof text, "%06llu", static_cast<unsigned long long>(i));
  return text;
}

/// Key `i` of those that have `shared` bytes in common and differ behind them.
inline std::string sharing_key(std::size_t shared, u64 i) {
  return bytes_of(shared, shared) + digits(i) + std::string(i % 3 == 0 ? i % 40 : 0, 't');
}
inline key_list sharing(std::size_t shared, u32 n) {
  key_list out;
  for (u32 i = 0; i < n; ++i) out.push_back(sharing_key(shared, i));
  return out;
}

/// Short and long ones among each other; such that begin one another around the edge, with tails
/// that sort next to nothing; numbers before, across and behind the edge.
inline key_list mixed(u32 n) {
  using namespace std::string_literals;
  const std::string stem(inline_bytes + 600, 'a');
  key_list out = {"", "\0"s, "a", "aa", "b", "\xff"};
  for (std::size_t at = inline_bytes - 3; at < inline_bytes + 4; ++at)
    for (const std::string& tail : {""s, "\0"s, "\0\0"s, "\0\1"s, "\1"s, "b"s, "\xff"s})
      out.push_back(stem.substr(0, at) + tail);
  for (u32 i = 0; i < n; ++i) {
    const std::string number = digits(i);
    switch (i % 6) {
      case 0:
        out.push_back(number);
        break;
      case 1:
        out.push_back(stem.substr(0, inline_bytes - 3) + number);
        break;
      case 2:
        out.push_back(stem.substr(0, inline_bytes) + number);
        break;
      case 3:
        out.push_back(stem + number);
        break;
      case 4:
        out.push_back(number + stem);
        break;
      default:
        out.push_back("aa" + number);
    }
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

enum class arrangement { ascending, descending, random };
inline constexpr arrangement arrangements[] = {arrangement::ascending, arrangement::descending,
                                               arrangement::random};

inline key_list arranged(key_list keys, arrangement how, u64 seed = base_seed()) {
  std::sort(keys.begin(), keys.end());
  if (how == arrangement::descending) std::reverse(keys.begin(), keys.end());
  if (how == arrangement::random) {
    std::mt19937_64 r(seed);
    std::shuffle(keys.begin(), keys.end(), r);
  }
  return keys;
}

/// Values: empty and small ones, some that do not stand in their leaf.
inline std::string value_of(u64 n) {
  return bytes_of(n, n % 16 == 9 ? 6000 : n % 50);
}

/// For messages.
inline std::string shown(std::string_view key) {
  std::string out = std::to_string(key.size()) + " bytes, ...";
  for (unsigned char c : key.substr(key.size() - std::min<std::size_t>(key.size(), 16))) {
    char hex[8];
    std::snprintf(hex, sizeof hex, c >= ' ' && c < 127 ? "%c" : "\\%02x", c);
    out += hex;
  }
  return out;
}

inline void require_key(std::string_view got, std::string_view expected) {
  DOCTEST_REQUIRE_MESSAGE((got == expected), shown(got) << " instead of " << shown(expected));
}

// --- a tree and its model ---

class judged_tree {
 public:
  struct setting {
    pleach::tree_options tree{.node_bytes = 4096};
    u64 cache = 16 * mib, volume = 256 * mib;
    bool on_file = false;  ///< so that it can be reopened
  };

  explicit judged_tree(const setting& with) : with_(with), file_("long-keys") {
    if (with.on_file) format(file_.path, with.volume, std::min(8 * mib, with.volume / 4));
    s_.emplace(with.on_file ? open(file_.path, with.cache) : open_memory(with.volume, with.cache));
    require_ok(s().run(s().create_tree("t", with.tree, t)));
    empty_blocks_ = used();
  }

  pleach::store& s() { return *s_; }
  u64 used() { return require_clean(s()).blocks_used; }
  u64 empty_blocks() const { return empty_blocks_; }
  u32 height() {
    auto all = s().trees();
    DOCTEST_REQUIRE(all);
    return all->front().height;
  }

  // --- changes, each of the tree and of the model ---

  void put(const std::string& key, const std::string& value) {
    const pleach::answer a = s().run(t.put(key, value, pleach::durability::ordered));
    DOCTEST_REQUIRE_MESSAGE((a.what() == (m.contains(key) ? category::exists : category::ok)),
                            "put " << shown(key) << ": " << a.text());
    m.emplace(key, value);
  }
  void upsert(const std::string& key, const std::string& value) {
    const pleach::answer a = s().run(t.upsert(key, value, pleach::durability::ordered));
    DOCTEST_REQUIRE_MESSAGE(a.ok(), "upsert " << shown(key) << ": " << a.text());
    m[key] = value;
  }
  void del(const std::string& key) {
    std::string old;
    const auto at = m.find(key);
    const pleach::answer a = s().run(t.del(key, &old, pleach::durability::ordered));
    DOCTEST_REQUIRE_MESSAGE((a.what() == (at == m.end() ? category::not_found : category::ok)),
                            "delete " << shown(key) << ": " << a.text());
    if (at == m.end()) return;
    DOCTEST_REQUIRE((old == at->second));
    m.erase(at);
  }
  void erase_range(const std::string& from, const std::string& to) {
    u64 expected = 0, n = ~u64{0};
    if (to.empty() || from < to) {
      const auto a = m.lower_bound(from), z = to.empty() ? m.end() : m.lower_bound(to);
      expected = static_cast<u64>(std::distance(a, z));
      m.erase(a, z);
    }
    const pleach::answer a = s().run(t.delete_range(from, to, n, pleach::durability::ordered));
    DOCTEST_REQUIRE_MESSAGE(a.ok(), shown(from) << " to " << shown(to) << ": " << a.text());
    DOCTEST_REQUIRE_MESSAGE(n == expected, shown(from) << " to " << shown(to));
  }
  void reopen() {
    DOCTEST_REQUIRE(with_.on_file);
    t = {};
    DOCTEST_REQUIRE(s_->close());
    s_.reset();
    s_.emplace(open(file_.path, with_.cache));
    t = open_tree(*s_, "t");
  }

  // --- judgements ---

  /// The records, both ways; the numbers; fsck.
  void check() {
    check_scan({}, {});
    u64 bytes = 0, n = 0;
    for (const auto& [key, value] : m) bytes += key.size() + value.size();
    DOCTEST_REQUIRE(t.record_count() == m.size());
    DOCTEST_REQUIRE(t.byte_count() == bytes);
    require_ok(s().run(t.count({}, {}, n)));
    DOCTEST_REQUIRE(n == m.size());
    require_clean(s());
  }

  /// A cursor over [from, to), forwards and backwards.
  void check_scan(const std::string& from, const std::string& to) {
    const bool none = !to.empty() && to <= from;
    const auto first = m.lower_bound(from);
    const auto end = none ? first : to.empty() ? m.end() : m.lower_bound(to);
    pleach::cursor c(t);
    if (!from.empty() || !to.empty()) c.range(from, to);
    auto at = first;
    for (pleach::answer a = s().run(c.first());; ++at) {
      if (a.what() == category::not_found) break;
      require_ok(a);
      DOCTEST_REQUIRE((at != end));
      require_key(c.key(), at->first);
      DOCTEST_REQUIRE((c.value() == at->second));
      if (!c.try_next()) a = s().run(c.next());
    }
    DOCTEST_REQUIRE((at == end));
    for (pleach::answer a = s().run(c.last());;) {
      if (a.what() == category::not_found) break;
      require_ok(a);
      DOCTEST_REQUIRE((at != first));
      --at;
      require_key(c.key(), at->first);
      DOCTEST_REQUIRE((c.value() == at->second));
      if (!c.try_prev()) a = s().run(c.prev());
    }
    DOCTEST_REQUIRE((at == first));
  }

  /// All that can be asked about one key, whether it is there or not.
  void check_around(const std::string& key) {
    DOCTEST_CAPTURE(shown(key));
    const auto at = m.find(key), upper = m.upper_bound(key), lower = m.lower_bound(key);
    std::string value = "untouched";
    const pleach::answer got = s().run(t.get(key, value));
    DOCTEST_REQUIRE_MESSAGE((got.what() == (at == m.end() ? category::not_found : category::ok)),
                            got.text());
    DOCTEST_REQUIRE((value == (at == m.end() ? "untouched" : at->second)));
    DOCTEST_REQUIRE((s().run(t.exists(key)).ok() == (at != m.end())));
    std::string k, v;
    const auto expect = [&](pleach::operation op, const model::const_iterator& wanted) {
      const pleach::answer a = s().run(op);
      DOCTEST_REQUIRE_MESSAGE(
          (a.what() == (wanted == m.end() ? category::not_found : category::ok)), a.text());
      if (wanted == m.end()) return;
      require_key(k, wanted->first);
      DOCTEST_REQUIRE((v == wanted->second));
    };
    const auto before = [&](model::const_iterator i) {
      return i == m.begin() ? m.end() : std::prev(i);
    };
    expect(t.get_at_least(key, k, v), lower);
    expect(t.get_at_most(key, k, v), before(upper));
    expect(t.next(key, k, v), upper);
    expect(t.prev(key, k, v), before(lower));
    expect(t.min(k, v), m.begin());
    expect(t.max(k, v), before(m.end()));
    // Up to the neighbour: it is out of bounds one way, and within them the other way.
    if (upper != m.end()) {
      expect(t.next_upto(key, upper->first, k, v), m.end());
      if (std::next(upper) != m.end())
        expect(t.next_upto(key, std::next(upper)->first, k, v), upper);
    }
    if (lower != m.begin()) {
      expect(t.prev_downto(key, std::prev(lower)->first, k, v), std::prev(lower));
      expect(t.prev_downto(key, key, k, v), m.end());
    }
    pleach::cursor c(t);
    pleach::answer a = s().run(c.seek(key));
    DOCTEST_REQUIRE((a.ok() == (lower != m.end())));
    if (a.ok()) require_key(c.key(), lower->first);
    a = s().run(c.seek_at_most(key));
    DOCTEST_REQUIRE((a.ok() == (upper != m.begin())));
    if (a.ok()) require_key(c.key(), std::prev(upper)->first);
  }

  /// Around every `stride`-th of `keys`: the key, and strings that are almost it.
  void check_probes(const key_list& keys, std::size_t stride) {
    for (std::size_t i = 0; i < keys.size(); i += stride) {
      const std::string& key = keys[i];
      check_around(key);
      if (key.empty()) continue;
      std::string near = key;
      ++near.back();
      check_around(near);
      near.pop_back();
      check_around(near);
      if (key.size() < longest_bytes) check_around(key + '\0');
      if (key.size() > inline_bytes) check_around(key.substr(0, inline_bytes + i % 2));
    }
  }

  void check_count(const std::string& from, const std::string& to) {
    const bool none = !to.empty() && to <= from;
    const auto end = to.empty() ? m.end() : m.lower_bound(to);
    const auto expected = none ? 0 : std::distance(m.lower_bound(from), end);
    u64 n = ~u64{0};
    require_ok(s().run(t.count(from, to, n)));
    DOCTEST_REQUIRE(n == static_cast<u64>(expected));
    require_ok(s().run(t.rank(from, n)));
    DOCTEST_REQUIRE(n == static_cast<u64>(std::distance(m.begin(), m.lower_bound(from))));
  }

  /// Nothing is left, and nothing has leaked.
  void check_empty() {
    DOCTEST_REQUIRE(m.empty());
    DOCTEST_REQUIRE(t.record_count() == 0);
    DOCTEST_REQUIRE(t.byte_count() == 0);
    require_ok(s().run(s().flush()));
    DOCTEST_CHECK(used() == empty_blocks_);
  }

  pleach::tree t;
  model m;

 private:
  using category = pleach::category;
  const setting with_;
  scratch_file file_;
  std::optional<pleach::store> s_;
  u64 empty_blocks_ = 0;
};

/// A whole life of a tree with these keys: filled, thinned out, filled up, cut, emptied; three
/// times, in three orders.
/// `stride`: one key in so many is looked at from all sides.
inline void live(judged_tree& w, const key_list& keys, arrangement order, std::size_t stride,
                 bool reopens = false) {
  u64 n = 0;
  const key_list sorted = arranged(keys, arrangement::ascending);
  const auto key = [&](std::size_t num, std::size_t den) {
    return sorted[sorted.size() * num / den];
  };
  for (u32 round = 0; round < 3; ++round) {
    DOCTEST_CAPTURE(round);
    const auto how = static_cast<arrangement>((static_cast<u32>(order) + round) % 3);
    const key_list puts = arranged(keys, how), dels = arranged(keys, order, base_seed() + round);
    for (const std::string& k : puts) w.put(k, value_of(++n));
    w.put(puts[puts.size() / 2], "it is there");
    w.check();
    if (reopens) w.reopen();
    if (round == 0) w.check_probes(sorted, stride);
    for (std::size_t i = round; i < dels.size(); i += 3) w.del(dels[i]);
    w.del(dels[round]);
    w.check();
    for (std::size_t i = round; i < dels.size(); i += 5) w.upsert(dels[i], value_of(++n));
    w.check();
    if (round == 1) w.check_probes(sorted, stride);
    if (reopens) w.reopen();
    w.check_scan(key(1, 3), key(2, 3));
    w.check_count(key(1, 3), key(2, 3));
    w.erase_range(key(1, 8), key(1, 4));
    w.check();
    // Bounds that are no keys: cut in the middle, and longer.
    std::string from = key(1, 2), to = key(3, 4);
    from.resize(from.size() - from.size() / 8);
    if (to.size() < longest_bytes) to += '\0';
    w.check_count(from, to);
    w.erase_range(from, to);
    w.check();
    w.erase_range(key(7, 8), {});
    w.erase_range({}, key(1, 16));
    w.check();
    if (round == 2) {
      w.erase_range({}, {});
    } else {
      for (const std::string& k : dels)
        if (w.m.contains(k)) w.del(k);
    }
    w.check_empty();
  }
}

}  // namespace store_test
