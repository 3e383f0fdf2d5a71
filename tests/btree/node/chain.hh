// A chain of sibling nodes of one level that uses the node functions as the tree operations do
// (grow, compact, split, merge, widen fences), beside a std::map that says what it must hold. Every
// step ends with the capture check and check_node of each page it touched, and has captured no more
// than node_cost.hh said before.
//
// Inner chains: the value is a child reference; the model's key of a node's first child is the
// node's low fence.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>

#include "btree/node_cost.hh"
#include "tests/btree/node/test_page.hh"

namespace pleach::btree::test {

class chain {
 public:
  struct value {
    u8 flags;
    std::string bytes;
    u8 key_flags = 0;
    std::string attached{};
    bool operator==(const value&) const = default;
  };

  chain(u32 first_bytes, u32 max_bytes, u8 level, record_shape shape = {},
        u16 format = node_format_slotted)
      : max_bytes_(max_bytes), level_(level), shape_(shape) {
    nodes.push_back(make(first_bytes));
    test_page& p = *nodes[0];
    format_node(p.writer(), p.ref.addr, 1, 5, p.ref.gen, level, {}, {}, false, {}, shape, format);
    if (level_ != 0) {
      const std::string child = child_bytes(1);
      insert_child(p.writer(), 0, {}, to_ref(child));
      model[""] = {0, child};
    }
    settle(p);
  }

  static std::string child_bytes(u64 block) {
    child_reference c{page_addr(block, 4).raw, 9};
    return std::string(reinterpret_cast<char*>(&c), sizeof c);
  }
  static page_ref to_ref(const std::string& s) {
    return {page_addr(load_le<u64>(s.data())), load_le<u32>(s.data() + 8)};
  }
  bool leaf() const { return level_ == 0; }

  std::size_t locate(const std::string& key) const {
    std::size_t i = nodes.size();
    while (i-- > 1)
      if (compare_keys(nodes[i]->view().low_fence(), as_bytes(key)) <= 0) return i;
    return 0;
  }

  void put(const std::string& key, const value& v, bool ascending = false) {
    put_in(key, v, ascending ? run_kind::UP : run_kind::NONE);
  }
  /// `r`: of the split, if there is one. No such guess may do harm.
  void put_in(const std::string& key, const value& v, run_kind kind) {
    std::size_t at = locate(key);
    model[key] = v;
    {
      test_page& p = *nodes[at];
      const search_result r = p.view().find(as_bytes(key));
      if (r.found) {
        if (replace(p, r.index, v)) return;
        erase_at(p.writer(), r.index);
        settle(p);
      }
    }
    for (bool was_split = false;;) {
      test_page& p = *nodes[at];
      const node_view n = p.view();
      DOCTEST_REQUIRE(n.covers(as_bytes(key)));
      const search_result r = n.find(as_bytes(key));
      DOCTEST_REQUIRE(!r.found);
      const u32 length = static_cast<u32>(v.bytes.size());
      const u32 attached = static_cast<u32>(v.attached.size());
      u32 place = 0;
      room have = room_for_insert(n, as_bytes(key), length, attached, &place);
      if (have == room::AFTER_COMPACTION) {
        const cbytes extra = as_bytes(key);
        compact(p.writer(), scratch(p.size()), &extra, attached ? convert::YES : conversion());
        settle(p);
        ++compactions;
        have = room_for_insert(p.view(), as_bytes(key), length, attached, &place);
        DOCTEST_REQUIRE(have == room::NOW);
      }
      if (have == room::NOW) {
        if (!p.view().fixed()) DOCTEST_REQUIRE(place != 0);
        const u32 suffix = static_cast<u32>(key.size() - p.view().prefix().size());
        const u64 most = insert_cost(p.view(), r.index,
                                     stored_bytes(p.view(), suffix, length + attached), place);
        if (leaf())
          insert_at(p.writer(), r.index, as_bytes(key), v.key_flags, v.flags, as_bytes(v.bytes),
                    as_bytes(v.attached), place);
        else
          insert_child(p.writer(), r.index, as_bytes(key), to_ref(v.bytes));
        if (was_split) return end_split();
        settle(p, most);
        return;
      }
      DOCTEST_REQUIRE(!was_split);  // both halves of a split take the record
      if (p.size() < max_bytes_) {
        grow(at);
        continue;
      }
      const split_point s = choose_split(n, as_bytes(key), r.index, length + attached, kind);
      if (s.index == 0) {
        DOCTEST_REQUIRE((n.count() < 3 || p.size() < 16384));
        grow(at);
        continue;
      }
      const convert c = conversion();
      // Halves that are converted are rewritten.
      const bool converted = n.old_version() && (c == convert::YES || attached != 0);
      split_most_ = converted ? 2 * (u64{n.size()} + n.size() / 8)
                              : split_cost(n, s, as_bytes(key), length + attached);
      split(at, s, c);
      was_split = true;
      if (s.insert_right) ++at;
    }
  }

  void erase(const std::string& key) {
    const std::size_t at = locate(key);
    test_page& p = *nodes[at];
    const search_result r = p.view().find(as_bytes(key));
    DOCTEST_REQUIRE(r.found == (model.count(key) == 1));
    if (!r.found) return;
    if (leaf()) {
      model.erase(key);
      const u64 most = erase_cost(p.view(), r.index);
      erase_at(p.writer(), r.index);
      settle(p, most);
    } else {
      if (p.view().count() == 1) return unlink(at);
      model.erase(key);
      if (r.index == 0) {
        auto next = model.upper_bound(key);
        model[key] = next->second;
        model.erase(next);
      }
      erase_child(p.writer(), r.index);
      settle(p);
    }
    if (p.view().count() == 0) unlink(at);
  }

  /// Removes an empty leaf or the last child; a neighbour takes its range.
  void unlink(std::size_t at) {
    if (nodes.size() == 1) return;
    const node_view n = nodes[at]->view();
    const std::string low = text(n.low_fence());
    if (at > 0) {
      test_page& left = *nodes[at - 1];
      const cbytes high = n.has_high_fence() ? n.high_fence() : cbytes{};
      if (room_for_fence(left.view(), static_cast<u32>(high.size()), true) == room::NONE) return;
      set_high_fence(left.writer(), high, n.has_high_fence(), scratch(left.size()));
      set_right_hint(left.writer(), n.right_hint());
      settle(left);
      if (!leaf()) model.erase(low);
    } else {
      test_page& right = *nodes[1];
      if (room_for_fence(right.view(), static_cast<u32>(low.size()), false) == room::NONE) return;
      const std::string right_low = text(right.view().low_fence());
      set_low_fence(right.writer(), as_bytes(low), scratch(right.size()));
      settle(right);
      if (!leaf()) {
        model[low] = model[right_low];
        model.erase(right_low);
      }
    }
    ++unlinks;
    nodes.erase(nodes.begin() + static_cast<std::ptrdiff_t>(at));
  }

  bool merge(std::size_t at) {
    if (at + 1 >= nodes.size()) return false;
    test_page &a = *nodes[at], &b = *nodes[at + 1];
    const u32 need = merged_bytes(a.view(), b.view());
    if (need > node_capacity(a.size())) return false;
    const bool same = a.view().header().format == b.view().header().format;
    const convert c = conversion();
    const u64 most = merge_cost(a.view(), b.view());
    merge_nodes(a.writer(), b.view(), b.view().low_fence(), scratch(a.size()), c);
    settle(a, most);
    if (c == convert::NO)
      DOCTEST_CHECK(a.view().used_bytes() == need);
    else
      DOCTEST_CHECK(a.view().used_bytes() <= need);
    if (!same) ++mixed_merges;
    if (!same) DOCTEST_CHECK(!a.view().old_version());
    nodes.erase(nodes.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    ++merges;
    return true;
  }

  void grow(std::size_t at) {
    const test_page& old = *nodes[at];
    resize(at, old.size() * 2);
  }
  void resize(std::size_t at, u32 size) {
    const test_page& old = *nodes[at];
    DOCTEST_REQUIRE(size <= 1u << 20);
    auto bigger = make(size);
    const u64 most = copy_cost(old.view(), size);
    copy_node(old.view(), bigger->writer(), bigger->ref.addr, 1, 5, bigger->ref.gen, conversion());
    settle(*bigger, most);
    nodes[at] = std::move(bigger);
  }
  void compact_at(std::size_t at) {
    test_page& p = *nodes[at];
    const u32 before = p.view().used_bytes();
    const u64 most = rewrite_cost(p.view(), 0);
    compact(p.writer(), scratch(p.size()), nullptr, conversion());
    settle(p, most);
    DOCTEST_CHECK(p.view().used_bytes() <= before);
    if (!p.view().fixed()) DOCTEST_CHECK(p.view().node().garbage == 0);
  }

  /// Everything against the model: records, fences, links, and searches for each key.
  void verify() {
    auto m = model.begin();
    std::string low;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      const node_view n = nodes[i]->view();
      DOCTEST_REQUIRE(n.shape() == shape_);
      if (!n.cuts_prefix()) DOCTEST_REQUIRE(n.prefix().empty());
      DOCTEST_REQUIRE(text(n.low_fence()) == low);
      for (u32 k = 0; k < n.count(); ++k, ++m) {
        DOCTEST_REQUIRE(m != model.end());
        DOCTEST_REQUIRE(full_key(n, k) == m->first);
        DOCTEST_REQUIRE(n.key_length(k) == m->first.size());
        DOCTEST_REQUIRE(text(n.at(k).value) == m->second.bytes);
        DOCTEST_REQUIRE(n.at(k).value_flags == m->second.flags);
        DOCTEST_REQUIRE(n.at(k).key_flags == m->second.key_flags);
        DOCTEST_REQUIRE(text(n.at(k).attached) == m->second.attached);
        const search_result r = n.find(as_bytes(m->first));
        DOCTEST_REQUIRE((r.found && r.index == k));
        DOCTEST_REQUIRE(n.compare(k, as_bytes(m->first)) == 0);
        if (!leaf()) DOCTEST_REQUIRE(n.child(k) == to_ref(m->second.bytes));
      }
      DOCTEST_REQUIRE(n.has_high_fence() == (i + 1 < nodes.size()));
      if (n.has_high_fence()) low = text(n.high_fence());
    }
    DOCTEST_REQUIRE(m == model.end());
  }

  /// find() of any key in any node against a linear search.
  void probe(const std::string& key) const {
    for (const auto& p : nodes) {
      const node_view n = p->view();
      u32 i = 0;
      while (i < n.count() && full_key(n, i) < key) ++i;
      const search_result r = n.find(as_bytes(key));
      DOCTEST_REQUIRE(r.index == i);
      DOCTEST_REQUIRE(r.found == (i < n.count() && full_key(n, i) == key));
      if (!leaf() && n.covers(as_bytes(key)))
        DOCTEST_REQUIRE(n.find_child(as_bytes(key)) == (r.found ? i : i - 1));
    }
  }

  std::vector<std::unique_ptr<test_page>> nodes;
  std::map<std::string, value> model;
  u64 marked = 0, runs = 0, splits = 0, merges = 0, compactions = 0, unlinks = 0;
  u64 mixed_merges = 0;  ///< of leaves of two versions
  /// Whether the next rewrite converts.
  std::function<convert()> conversion = [] { return convert::NO; };

 private:
  std::unique_ptr<test_page> make(u32 size) {
    return std::make_unique<test_page>(size, 1000 + 256 * next_page_++);
  }
  bytes scratch(u32 size) {
    scratch_.assign(size, std::byte{0xEE});
    return scratch_;
  }
  /// `most`: what it was said to log at most.
  void settle(test_page& p, u64 most = ~u64{0}) {
    if (&p == left_ || &p == right_) return;  // a split ends with the record in one of its halves
    const std::string broken = p.settle();
    DOCTEST_REQUIRE(broken == "");
    DOCTEST_REQUIRE(p.logged <= most);
    marked += p.marked;
    runs += p.runs;
  }
  void end_split() {
    test_page &left = *left_, &right = *right_;
    left_ = right_ = nullptr;
    settle(left);
    settle(right);
    DOCTEST_REQUIRE(left.logged + right.logged <= split_most_);
  }
  bool replace(test_page& p, u32 index, const value& v) {
    if (!leaf()) {
      set_child(p.writer(), index, to_ref(v.bytes));
      settle(p);
      return true;
    }
    const u32 length = static_cast<u32>(v.bytes.size());
    const u32 attached = static_cast<u32>(v.attached.size());
    room have = room_for_replace(p.view(), index, length, attached);
    if (have == room::AFTER_COMPACTION) {
      compact(p.writer(), scratch(p.size()), nullptr, attached ? convert::YES : conversion());
      settle(p);
      have = room_for_replace(p.view(), index, length, attached);
      DOCTEST_REQUIRE(have == room::NOW);
    }
    if (have == room::NONE) return false;
    const u64 most = replace_cost(p.view(), index, length + attached);
    replace_value(p.writer(), index, v.key_flags, v.flags, as_bytes(v.bytes), as_bytes(v.attached));
    settle(p, most);
    return true;
  }
  void split(std::size_t at, const split_point& s, convert c) {
    test_page& left = *nodes[at];
    auto right = make(left.size());
    split_node(left.writer(), right->writer(), s, left.ref, right->ref, 1, scratch(left.size()), c);
    left_ = &left;
    right_ = right.get();
    DOCTEST_CHECK(left.view().right_hint() == right->ref);
    if (!left.view().truncates() && leaf() && right->view().count() != 0 && s.insert_right == false)
      DOCTEST_CHECK(text(left.view().high_fence()) == full_key(right->view(), 0));
    nodes.insert(nodes.begin() + static_cast<std::ptrdiff_t>(at) + 1, std::move(right));
    ++splits;
  }

  u32 max_bytes_;
  u8 level_;
  record_shape shape_;
  u64 next_page_ = 0;
  std::vector<std::byte> scratch_;
  test_page *left_ = nullptr, *right_ = nullptr;  ///< of a split that has not ended
  u64 split_most_ = 0;
};

/// Keys of one style: what prefixes, heads and lengths have trouble with.
inline std::string random_key(random_stream& r, u32 style, u32 max_length) {
  std::string k;
  switch (style) {
    case 0:  // short random bytes, also empty
      for (u64 n = r.below(6); n > 0; --n) k += static_cast<char>(r.below(256));
      break;
    case 1:  // prefixes of each other, zero bytes
      for (u64 n = r.below(12); n > 0; --n) k += static_cast<char>(r.below(2));
      break;
    case 2:  // long shared prefix, big-endian number behind
      k = "tenant/0000000000000042/object/";
      for (int i = 0; i < 3; ++i) k += static_cast<char>(r.below(i ? 256 : 4));
      break;
    case 3:  // up to the longest keys, few distinct bytes
      k.assign(r.below(max_length), 'x');
      k += static_cast<char>('a' + r.below(26));
      if (r.chance(300)) k.resize(max_length, 'y');
      break;
    case 4:  // few prefixes of very different length
      k.assign(r.below(4) * (max_length / 5), 'p');
      for (u64 n = 1 + r.below(4); n > 0; --n) k += static_cast<char>(r.below(256));
      break;
    case 5:  // 16 random bytes
      for (int i = 0; i < 16; ++i) k += static_cast<char>(r.below(256));
      break;
    default:
      return random_key(r, static_cast<u32>(r.below(6)), max_length);
  }
  if (k.size() > max_length) k.resize(max_length);
  return k;
}

}  // namespace pleach::btree::test
