// Proves: trees of every key order, and trees that store keys or separators whole, do under all
// operations what std::map with that order does: writes of each kind, batches, slants both ways,
// bounded steps, counts, multi-gets, cursors both ways and within ranges, large values; through
// splits and merges, with keys that share long beginnings, negative numbers, and the least and
// greatest integers, comparators of the program; and after reopening.
#include "tests/btree/ops/key_orders.hh"

using namespace store_test;

namespace {

struct kind {
  const char* name;
  pleach::tree_options options;
  less order;
  std::string (*key)(u64 n);
};

const kind kinds[] = {
    {"no prefix", {.node_bytes = 4096, .prefix_compression = false}, by_bytes, path_key},
    {"no truncation", {.node_bytes = 4096, .suffix_truncation = false}, by_bytes, path_key},
    {"whole",
     {.node_bytes = 8192, .prefix_compression = false, .suffix_truncation = false},
     by_bytes,
     path_key},
    {"u8", {4096, 1, 0, true, true, key_order::unsigned_integers}, by_unsigned, integer_key<1>},
    {"i32", {4096, 4, 0, true, true, key_order::signed_integers}, by_signed, integer_key<4>},
    {"u32 fixed",
     {4096, 4, 12, true, true, key_order::unsigned_integers},
     by_unsigned,
     integer_key<4>},
    {"i64 fixed", {4096, 8, 8, true, true, key_order::signed_integers}, by_signed, integer_key<8>},
    {"u64 whole",
     {4096, 8, 0, false, false, key_order::unsigned_integers},
     by_unsigned,
     integer_key<8>},
    {"reverse",
     {.node_bytes = 4096, .order = key_order::registered, .comparator = "reverse"},
     by_reverse,
     path_key},
    {"reverse, fixed",
     {4096, 8, 8, true, true, key_order::registered, "reverse"},
     by_reverse,
     integer_key<8>},
    {"letters",
     {.node_bytes = 16384, .order = key_order::registered, .comparator = "letters"},
     by_letters,
     letter_key},
    {"i128", {16384, 16, 0, true, true, key_order::signed_integers}, by_signed, integer_key<16>},
};

class world {
 public:
  world(pleach::store& s, const kind& k, pleach::tree t, model& m)
      : s_(s), kind_(k), tree_(std::move(t)), model_(m), random_(base_seed()) {}

  void write(u64 rounds) {
    for (u64 i = 0; i < rounds; ++i) {
      const bool shrinking = i / (rounds / 5 + 1) % 2 == 1;
      const u64 dice = below(100);
      if (dice < 10)
        batch(shrinking);
      else if (dice < 15)
        modify();
      else if (dice < (shrinking ? 30u : 80u))
        put();
      else
        erase();
      if (i % 16 == 0) probe();
      if (i % 512 == 511) walk();
    }
    walk();
    require_clean(s_);
  }

  /// Everything there is, both ways, as it is.
  void walk() {
    pleach::cursor c(tree_);
    pleach::answer a = s_.run(c.first());
    for (const auto& [k, v] : model_) {
      DOCTEST_REQUIRE_MESSAGE(a.ok(), a.text());
      DOCTEST_REQUIRE(c.key() == k);
      DOCTEST_REQUIRE(c.value() == v);
      if (!c.try_next()) a = s_.run(c.next());
    }
    DOCTEST_REQUIRE(a.what() == category::not_found);
    a = s_.run(c.last());
    for (auto at = model_.rbegin(); at != model_.rend(); ++at) {
      DOCTEST_REQUIRE_MESSAGE(a.ok(), a.text());
      DOCTEST_REQUIRE(c.key() == at->first);
      if (!c.try_prev()) a = s_.run(c.prev());
    }
    DOCTEST_REQUIRE(a.what() == category::not_found);
    DOCTEST_REQUIRE(tree_.record_count() == model_.size());
  }

 private:
  u64 below(u64 n) { return random_() % n; }
  std::string key() { return kind_.key(below(6000)); }
  std::string present() {
    const auto at = model_.lower_bound(key());
    return at == model_.end() ? key() : at->first;
  }
  std::string value() {
    const u32 fixed = kind_.options.value_bytes;
    return bytes_of(random_(), fixed ? fixed : below(30) == 0 ? below(20'000) : below(120));
  }

  void put() {
    const std::string k = key(), v = value();
    const bool there = model_.contains(k);
    switch (below(3)) {
      case 0:
        DOCTEST_REQUIRE(s_.run(tree_.put(k, v, ordered)).what() ==
                        (there ? category::exists : category::ok));
        if (there) return;
        break;
      case 1:
        DOCTEST_REQUIRE(s_.run(tree_.update(k, v, ordered)).what() ==
                        (there ? category::ok : category::not_found));
        if (!there) return;
        break;
      default:
        require_ok(s_.run(tree_.upsert(k, v, ordered, &near_)));
    }
    model_[k] = v;
  }

  void erase() {
    const std::string k = below(5) ? present() : key();
    std::string old;
    const auto at = model_.find(k);
    const pleach::answer a = s_.run(tree_.del(k, &old, ordered));
    DOCTEST_REQUIRE(a.what() == (at != model_.end() ? category::ok : category::not_found));
    if (at == model_.end()) return;
    DOCTEST_REQUIRE(old == at->second);
    model_.erase(at);
  }

  void modify() {
    const std::string k = key();
    std::string v, wanted = value();
    require_ok(s_.run(tree_.modify(
        k, v,
        [](void* to, bool, std::string& now) {
          now = *static_cast<std::string*>(to);
          return pleach::edit::store;
        },
        &wanted, ordered)));
    model_[k] = wanted;
  }

  void batch(bool shrinking) {
    pleach::batch b(s_);
    for (u64 n = below(60) + 1; n > 0; --n) {
      const std::string k = shrinking ? present() : key(), v = value();
      if (below(10) < (shrinking ? 8u : 3u)) {
        b.del(tree_, k);
        model_.erase(k);
      } else {
        b.upsert(tree_, k, v);
        model_[k] = v;
      }
    }
    require_ok(s_.run(b.commit(ordered)));
  }

  void same(const pleach::answer& a, const std::string& k, const std::string& v,
            model::const_iterator expected) {
    DOCTEST_REQUIRE_MESSAGE(
        a.what() == (expected == model_.end() ? category::not_found : category::ok), a.text());
    if (expected == model_.end()) return;
    DOCTEST_REQUIRE(k == expected->first);
    DOCTEST_REQUIRE(v == expected->second);
  }
  model::const_iterator before(model::const_iterator at) const {
    return at == model_.begin() ? model_.end() : std::prev(at);
  }

  void probe() {
    std::string a = key(), b = key(), k, v;
    if (below(3) == 0) a = present();
    if (model_.key_comp()(b, a)) std::swap(a, b);
    const model::const_iterator low = model_.lower_bound(a), over = model_.upper_bound(a),
                                end = model_.lower_bound(b);
    same(s_.run(tree_.get_at_least(a, k, v)), k, v, low);
    same(s_.run(tree_.get_at_most(a, k, v)), k, v, before(over));
    same(s_.run(tree_.next(a, k, v)), k, v, over);
    same(s_.run(tree_.prev(a, k, v)), k, v, before(low));
    same(s_.run(tree_.min(k, v)), k, v, model_.begin());
    same(s_.run(tree_.max(k, v)), k, v, before(model_.end()));
    same(s_.run(tree_.next_upto(a, b, k, v)), k, v, a == b || over == end ? model_.end() : over);
    const auto last = before(end);
    same(s_.run(tree_.prev_downto(b, a, k, v)), k, v,
         last == model_.end() || model_.key_comp()(last->first, a) ? model_.end() : last);
    k = a;
    same(s_.run(tree_.get(a, v, &near_)), k, v, model_.find(a));
    u64 n = 0;
    require_ok(s_.run(tree_.count(a, b, n)));
    DOCTEST_REQUIRE(n == static_cast<u64>(std::distance(low, end)));
    require_ok(s_.run(tree_.count({}, b, n)));
    DOCTEST_REQUIRE(n == static_cast<u64>(std::distance(model_.cbegin(), end)));
    range(a, b, low, end);
    many();
  }

  void range(const std::string& a, const std::string& b, model::const_iterator low,
             model::const_iterator end) {
    pleach::cursor c(tree_);
    c.range(a, b);
    pleach::answer at = s_.run(c.first());
    u32 left = 40;
    for (auto m = low; m != end && left-- > 0; ++m) {
      DOCTEST_REQUIRE_MESSAGE(at.ok(), at.text());
      DOCTEST_REQUIRE(c.key() == m->first);
      if (!c.try_next()) at = s_.run(c.next());
    }
    if (left != ~0u) DOCTEST_REQUIRE(at.what() == category::not_found);
    at = s_.run(c.last());
    left = 40;
    for (auto m = end; m != low && left-- > 0;) {
      --m;
      DOCTEST_REQUIRE_MESSAGE(at.ok(), at.text());
      DOCTEST_REQUIRE(c.key() == m->first);
      if (!c.try_prev()) at = s_.run(c.prev());
    }
    if (left != ~0u) DOCTEST_REQUIRE(at.what() == category::not_found);
    // A place to begin at is moved into the range.
    const std::string from = key();
    model::const_iterator m = model_.lower_bound(model_.key_comp()(from, a) ? a : from);
    if (m != model_.end() && !model_.key_comp()(m->first, b)) m = model_.end();
    at = s_.run(c.seek(from));
    DOCTEST_REQUIRE(at.what() == (m == model_.end() ? category::not_found : category::ok));
    if (at.ok()) DOCTEST_REQUIRE(c.key() == m->first);
    m = model_.key_comp()(from, b) ? before(model_.upper_bound(from)) : before(end);
    if (m != model_.end() && model_.key_comp()(m->first, a)) m = model_.end();
    at = s_.run(c.seek_at_most(from));
    DOCTEST_REQUIRE(at.what() == (m == model_.end() ? category::not_found : category::ok));
    if (at.ok()) DOCTEST_REQUIRE(c.key() == m->first);
  }

  void many() {
    std::vector<std::string> keys, values(40);
    for (std::size_t i = 0; i < values.size(); ++i) keys.push_back(i % 2 ? present() : key());
    std::vector<pleach::lookup> lookups;
    for (std::size_t i = 0; i < keys.size(); ++i) lookups.push_back({keys[i], &values[i]});
    require_ok(s_.run(tree_.multi_get(lookups)));
    for (std::size_t i = 0; i < keys.size(); ++i)
      same(lookups[i].result, keys[i], values[i], model_.find(keys[i]));
  }

  pleach::store& s_;
  const kind& kind_;
  pleach::tree tree_;
  model& model_;
  std::mt19937_64 random_;
  pleach::cookie near_;
};

DOCTEST_TEST_CASE("trees of every order are maps of that order") {
  for (const kind& k : kinds) {
    DOCTEST_CAPTURE(k.name);
    scratch_file f("orders");
    format(f.path, 64 * mib, 8 * mib);
    model m(k.order);
    {
      pleach::store s = *pleach::store::open(f.path, with_comparators());
      pleach::tree t;
      require_ok(s.run(s.create_tree("t", k.options, t)));
      world(s, k, t, m).write(4000);
      DOCTEST_CHECK(m.size() > 20);
      if (k.options.key_bytes != 1) {  // else one leaf
        DOCTEST_CHECK(counter_of(s, "tree.splits") > 5);
        DOCTEST_CHECK(counter_of(s, "tree.merges") + counter_of(s, "tree.unlinks") > 3);
      }
    }
    pleach::store s = *pleach::store::open(f.path, with_comparators());
    pleach::tree t = open_tree(s, "t");
    DOCTEST_CHECK(t.order() == k.options.order);
    auto all = s.trees();
    DOCTEST_REQUIRE((all && all->size() == 1));
    DOCTEST_CHECK((*all)[0].order == k.options.order);
    const bool registered = k.options.order == key_order::registered;
    DOCTEST_CHECK((*all)[0].comparator == k.options.comparator);
    DOCTEST_CHECK((*all)[0].prefix_compression == (k.options.prefix_compression && !registered));
    DOCTEST_CHECK((*all)[0].suffix_truncation == (k.options.suffix_truncation && !registered));
    world w(s, k, t, m);
    w.walk();
    w.write(500);
  }
}

}  // namespace
