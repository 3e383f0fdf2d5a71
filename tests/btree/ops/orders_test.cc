// Proves: trees of every key order, and trees that store keys or separators whole, do under all
// operations what std::map with that order does: writes of each kind, batches, slants both ways,
// bounded steps, counts, multi-gets, cursors both ways and within ranges, large values; through
// splits and merges, with keys that share long beginnings, negative numbers, and the least and
// greatest integers, comparators of the program; and after reopening. Integers of a wrong length
// are refused everywhere. A comparator that is missing is named; one that contradicts itself harms
// its own tree only.
#include <algorithm>
#include <cstring>
#include <map>
#include <vector>

#include "tests/store/support.hh"

using namespace store_test;
using pleach::category;
using pleach::key_order;

namespace {

using less = bool (*)(const std::string& a, const std::string& b);
constexpr auto ordered = pleach::durability::ordered;
using model = std::map<std::string, std::string, less>;

bool by_bytes(const std::string& a, const std::string& b) {
  return a < b;
}
bool by_unsigned(const std::string& a, const std::string& b) {
  return std::lexicographical_compare(
      a.rbegin(), a.rend(), b.rbegin(), b.rend(),
      [](char x, char y) { return static_cast<unsigned char>(x) < static_cast<unsigned char>(y); });
}
bool negative(const std::string& a) {
  return (a.back() & 0x80) != 0;
}
bool by_signed(const std::string& a, const std::string& b) {
  return negative(a) != negative(b) ? negative(a) : by_unsigned(a, b);
}

// Comparators: the order of bytes from the other end, and one that takes large letters for small
// ones, which leaves keys equal that are not.
bool by_reverse(const std::string& a, const std::string& b) {
  return b < a;
}
std::string small(std::string_view s) {
  std::string to(s);
  for (char& c : to) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return to;
}
bool by_letters(const std::string& a, const std::string& b) {
  const int c = small(a).compare(small(b));
  return c != 0 ? c < 0 : a < b;
}
u64 fickle_state = 7;
const std::vector<pleach::comparator> comparators = {
    {"reverse", [](std::string_view a, std::string_view b, void*) { return b.compare(a); }},
    {"letters",
     [](std::string_view a, std::string_view b, void*) { return small(a).compare(small(b)); }},
    // As what the datum points to has it: contradicts itself from call to call.
    {"fickle",
     [](std::string_view, std::string_view, void* state) {
       auto& x = *static_cast<u64*>(state);
       x = x * 6364136223846793005u + 1442695040888963407u;
       return static_cast<int>(x >> 60) - 7;
     },
     &fickle_state},
    // A circle: each key is below the third of all that follows it.
    {"circle",
     [](std::string_view a, std::string_view b, void*) {
       const int x = static_cast<unsigned char>(a.back()) % 3;
       const int y = static_cast<unsigned char>(b.back()) % 3;
       return x == y ? a.compare(b) : (x + 1) % 3 == y ? -1 : 1;
     }},
};
pleach::open_options with_comparators(u64 cache = 8 * mib) {
  pleach::open_options o;
  o.cache_bytes = cache;
  o.comparators = comparators;
  return o;
}

/// Paths that share long beginnings.
std::string path_key(u64 n) {
  return "projects/metadata/index/of/the/third/volume/" + std::string(n % 3 * 40, 'd') + "/file-" +
         std::to_string(n * 7919 % 3000);
}
std::string letter_key(u64 n) {
  std::string key = path_key(n / 3);
  if (n % 3 == 0) key[n % key.size()] = 'D';
  return key;
}
/// Around zero, at both ends, and anywhere.
template <int BYTES>
std::string integer_key(u64 n) {
  std::string key(BYTES, '\0');
  std::int64_t small = static_cast<std::int64_t>(n % 1500) - 750;
  switch (n % 4) {
    case 0:
    case 1:
      std::memset(key.data(), small < 0 ? 0xff : 0, key.size());
      std::memcpy(key.data(), &small, std::min<std::size_t>(sizeof small, key.size()));
      break;
    case 2: {  // next to the least or the greatest
      std::memset(key.data(), n & 4 ? 0xff : 0, key.size());
      key.back() = n & 4 ? '\x7f' : '\x80';
      key.front() = static_cast<char>(n & 4 ? 0xff - n / 8 % 4 : n / 8 % 4);
      break;
    }
    default:
      key = bytes_of(n, BYTES);
  }
  return key;
}

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

std::string_view view(const std::int64_t& n) {
  return {reinterpret_cast<const char*>(&n), sizeof n};
}

DOCTEST_TEST_CASE("negative numbers come before zero, and come back as they went in") {
  pleach::store s = open_memory(64 * mib);
  pleach::tree t;
  require_ok(s.run(s.create_tree("t", {.key_bytes = 8, .order = key_order::signed_integers}, t)));
  const std::int64_t in_order[] = {INT64_MIN, INT64_MIN + 1, -256,  -255,          -1,       0, 1,
                                   255,       256,           65536, INT64_MAX - 1, INT64_MAX};
  for (std::int64_t n : in_order) require_ok(s.run(t.put(view(n), std::to_string(n))));
  pleach::cursor c(t);
  pleach::answer a = s.run(c.first());
  for (std::int64_t n : in_order) {
    require_ok(a);
    DOCTEST_CHECK(c.key() == view(n));
    DOCTEST_CHECK(c.value() == std::to_string(n));
    a = s.run(c.next());
  }
}

DOCTEST_TEST_CASE("large values of integer keys are streamed, read in ranges, and checked") {
  pleach::store s = open_memory(64 * mib);
  pleach::tree t;
  require_ok(s.run(s.create_tree("t", {.key_bytes = 8, .order = key_order::signed_integers}, t)));
  const std::int64_t key = -5;
  const std::string value = bytes_of(1, 3 * mib);
  {
    pleach::value_writer w(t, view(key), value.size());
    require_ok(s.run(w.write(value)));
    require_ok(s.run(w.commit()));
  }
  std::string piece(1000, '\0'), k, v;
  std::size_t got = 0;
  require_ok(s.run(t.read(view(key), mib, piece, got)));
  DOCTEST_CHECK(piece == value.substr(mib, 1000));
  pleach::value_reader r(t, view(key));
  require_ok(s.run(r.read(5, piece, got)));
  DOCTEST_CHECK(piece == value.substr(5, 1000));
  require_ok(s.run(t.next(view(-6), k, v)));
  DOCTEST_CHECK((k == view(key) && v == value));
  std::size_t seen = 0;
  require_ok(s.run(t.visit(
      view(key),
      [](void* to, std::string_view bytes) {
        *static_cast<std::size_t*>(to) = bytes.size();
        return true;
      },
      &seen)));
  DOCTEST_CHECK(seen == value.size());
  require_clean(s);
}

DOCTEST_TEST_CASE("an integer of another length is refused everywhere, but as no bound") {
  pleach::store s = open_memory(64 * mib);
  pleach::tree t;
  require_ok(s.run(s.create_tree("t", {.key_bytes = 8, .order = key_order::unsigned_integers}, t)));
  const std::int64_t one = 1;
  require_ok(s.run(t.put(view(one), "v")));
  std::string k, v;
  u64 n = 0;
  std::size_t got = 0;
  const auto refused = [](const pleach::answer& a, std::size_t given) {
    DOCTEST_CHECK_MESSAGE(a.what() == category::invalid, a.text());
    DOCTEST_CHECK((a.wanted_bytes == 8 && a.given_bytes == given));
  };
  pleach::cursor c(t);
  for (const std::string_view bad : {"", "1234567", "123456789"}) {
    for (const bool written : {true, false}) {
      pleach::batch b(s);
      b.upsert(t, view(one), "other");
      if (written)
        b.upsert(t, bad, "v");
      else
        b.del(t, bad);
      refused(s.run(b.commit()), bad.size());
    }
    refused(s.run(t.put(bad, "v")), bad.size());
    refused(s.run(t.update(bad, "v")), bad.size());
    refused(s.run(t.upsert(bad, "v")), bad.size());
    refused(s.run(t.del(bad)), bad.size());
    refused(s.run(t.get(bad, v)), bad.size());
    refused(s.run(t.exists(bad)), bad.size());
    refused(s.run(t.visit(
                bad, [](void*, std::string_view) { return true; }, nullptr)),
            bad.size());
    refused(s.run(t.modify(
                bad, v, [](void*, bool, std::string&) { return pleach::edit::store; }, nullptr)),
            bad.size());
    refused(s.run(t.read(bad, 0, std::span<char>(), got)), bad.size());
    pleach::value_writer w(t, bad);
    require_ok(s.run(w.write(std::string(10, 'x'))));
    refused(s.run(w.commit()), bad.size());
    pleach::lookup lookups[] = {{view(one), &v}, {bad, &v}};
    refused(s.run(t.multi_get(lookups)), bad.size());
    DOCTEST_CHECK(lookups[0].result.ok());
    refused(lookups[1].result, bad.size());
    if (bad.empty()) continue;
    refused(s.run(t.get_at_least(bad, k, v)), bad.size());
    refused(s.run(t.next_upto(view(one), bad, k, v)), bad.size());
    refused(s.run(t.count(bad, {}, n)), bad.size());
    refused(s.run(t.count({}, bad, n)), bad.size());
    refused(s.run(c.seek(bad)), bad.size());
    refused(s.run(c.seek_at_most(bad)), bad.size());
    c.range(bad, {});
    refused(s.run(c.first()), bad.size());
    c.range({}, {});
  }
  require_ok(s.run(t.get(view(one), v)));
  DOCTEST_CHECK(v == "v");
  require_ok(s.run(t.get_at_least({}, k, v)));
  DOCTEST_CHECK(k == view(one));
  require_ok(s.run(t.next({}, k, v)));
  require_ok(s.run(c.seek({})));
  require_ok(s.run(t.count({}, {}, n)));
  DOCTEST_CHECK(n == 1);
}

// The range of a leaf that the batch empties may fall to one that it has not pinned, and what it
// has still to delete in that range is not there.
DOCTEST_TEST_CASE("a batch deletes whole leaves, and keys of theirs that are not there") {
  pleach::store s = *pleach::store::open_memory(64 * mib, with_comparators(16 * mib));
  const auto key = [](u64 i) { return "key" + std::to_string(100 + i); };
  for (u64 gone = 1; gone <= 30; ++gone) {
    DOCTEST_CAPTURE(gone);
    pleach::tree t;
    const std::string name = "t" + std::to_string(gone);
    require_ok(s.run(s.create_tree(
        name, {.node_bytes = 4096, .order = key_order::registered, .comparator = "letters"}, t)));
    for (u64 i = 0; i < 60; ++i)
      require_ok(s.run(t.upsert(key(i), std::string(600, 'v'), ordered)));
    pleach::batch b(s);
    for (u64 i = 0; i < gone; ++i) {
      b.del(t, key(i));
      b.del(t, key(i) + "x");
    }
    require_ok(s.run(b.commit(ordered)));
    u64 n = 0;
    require_ok(s.run(t.count({}, {}, n)));
    DOCTEST_CHECK(n == 60 - gone);
  }
  require_clean(s);
}

DOCTEST_TEST_CASE("a comparator that contradicts itself makes wrong results, and no more") {
  for (const char* name : {"fickle", "circle"}) {
    DOCTEST_CAPTURE(name);
    pleach::store s = *pleach::store::open_memory(64 * mib, with_comparators(16 * mib));
    pleach::tree t, sound;
    require_ok(s.run(s.create_tree(
        "t", {.node_bytes = 4096, .order = key_order::registered, .comparator = name}, t)));
    require_ok(s.run(s.create_tree("sound", {}, sound)));
    const auto expected = [](const pleach::answer& a) {
      const category c = a.what();
      DOCTEST_REQUIRE_MESSAGE(
          (c == category::ok || c == category::not_found || c == category::exists ||
           c == category::corrupt || c == category::too_large),
          a.text());
    };
    std::mt19937_64 random(base_seed());
    std::string k, v;
    for (u64 i = 0; i < 2500; ++i) {
      const std::string key = path_key(random() % 4000);
      const u64 dice = random() % 20;
      if (dice == 0) {
        pleach::batch b(s);
        for (u64 n = random() % 50; n > 0; --n) b.upsert(t, path_key(random() % 4000), "batch");
        for (u64 n = random() % 20; n > 0; --n) b.del(t, path_key(random() % 4000));
        expected(s.run(b.commit(ordered)));
      } else if (dice < 12) {
        const std::size_t length = random() % 40 == 0 ? 30'000 : random() % 300;
        expected(s.run(t.upsert(key, std::string(length, 'v'), ordered)));
      } else if (dice < 16) {
        expected(s.run(t.del(key, &v, ordered)));
      } else {
        expected(s.run(t.get_at_least(key, k, v)));
        expected(s.run(t.prev(key, k, v)));
        u64 n = 0;
        expected(s.run(t.count(key, path_key(random() % 4000), n)));
        pleach::cursor c(t);
        pleach::answer a = s.run(c.seek(key));
        for (int step = 0; step < 20 && a.ok(); ++step) a = s.run(c.next());
        expected(a);
        pleach::lookup lookups[] = {{key, &v}, {"x", &k}};
        expected(s.run(t.multi_get(lookups)));
      }
      if (i % 100 == 0) require_ok(s.run(sound.upsert(key, "v", ordered)));
    }
    // What holds however keys are ordered: space, fences by parents, counts.
    const auto report = s.check({});
    DOCTEST_REQUIRE(report);
    for (const pleach::problem& p : report->problems)
      DOCTEST_CHECK_MESSAGE((p.what == "corrupt: key order" || p.what == "corrupt: fence order" ||
                             p.what == "corrupt: a key outside its fences"),
                            p.where, ": ", p.what);
    require_ok(s.run(s.drop_tree("t")));
    require_clean(s);
  }
}

DOCTEST_TEST_CASE("a tree whose comparator is not there") {
  scratch_file f("orders");
  format(f.path, 64 * mib, 8 * mib);
  const pleach::tree_options o{.order = key_order::registered, .comparator = "reverse"};
  {
    pleach::store s = *pleach::store::open(f.path, with_comparators());
    pleach::tree t;
    require_ok(s.run(s.create_tree("backwards", o, t)));
    for (const char* key : {"a", "b", "c"}) require_ok(s.run(t.put(key, "v")));
    const pleach::answer empty = s.run(t.put("", "v"));
    DOCTEST_CHECK(empty.what() == category::invalid);
    std::string v;
    DOCTEST_CHECK(s.run(t.get("", v)).what() == category::not_found);
    DOCTEST_CHECK(s.run(t.del("")).what() == category::not_found);
    DOCTEST_CHECK(s.check({})->unchecked.empty());
  }
  const auto named = [](const pleach::answer& a, const char* name) {
    DOCTEST_CHECK(a.what() == category::unsupported);
    DOCTEST_CHECK_MESSAGE(a.text().find(name) != std::string::npos, a.text());
  };
  {
    pleach::open_options other = with_comparators();
    for (pleach::comparator& c : other.comparators)
      if (c.name == "reverse") c.name = "Reverse";
    pleach::store s = *pleach::store::open(f.path, other);
    pleach::tree t;
    named(s.run(s.open_tree("backwards", t)), "reverse");
    DOCTEST_CHECK(!t);
    named(s.run(s.create_tree("other", o, t)), "reverse");
    auto all = s.trees();
    DOCTEST_REQUIRE((all && all->size() == 1));
    DOCTEST_CHECK((*all)[0].comparator == "reverse");
    DOCTEST_CHECK(!(*all)[0].comparator_known);
    DOCTEST_CHECK((*all)[0].records == 3);
    // The check says what it leaves out, and checks the rest.
    const auto r = s.check({});
    DOCTEST_REQUIRE(r);
    DOCTEST_CHECK((r->clean && r->records == 3));
    DOCTEST_REQUIRE(r->unchecked.size() == 1);
    DOCTEST_CHECK(r->unchecked[0].where == "tree backwards");
    DOCTEST_CHECK(r->unchecked[0].what.find("\"reverse\"") != std::string::npos);
    // To drop it takes no comparator.
    require_ok(s.run(s.drop_tree("backwards")));
    require_clean(s);
  }
}

DOCTEST_TEST_CASE("a check with another comparator of that name finds the order broken") {
  scratch_file f("orders");
  format(f.path, 64 * mib, 8 * mib);
  {
    pleach::store s = *pleach::store::open(f.path, with_comparators());
    pleach::tree t;
    require_ok(
        s.run(s.create_tree("t", {.order = key_order::registered, .comparator = "reverse"}, t)));
    for (const char* key : {"a", "b", "c"}) require_ok(s.run(t.put(key, "v")));
  }
  pleach::open_options wrong;
  wrong.cache_bytes = 8 * mib;
  wrong.comparators = {
      {"reverse", [](std::string_view a, std::string_view b, void*) { return a.compare(b); }}};
  pleach::store s = *pleach::store::open(f.path, wrong);
  const auto r = s.check({});
  DOCTEST_REQUIRE((r && r->problems.size() == 1));
  DOCTEST_CHECK(r->problems[0].what == "corrupt: key order");
}

DOCTEST_TEST_CASE("comparators that cannot be registered or named") {
  const auto compare = [](std::string_view a, std::string_view b, void*) { return a.compare(b); };
  const auto refused = [](std::vector<pleach::comparator> list) {
    pleach::open_options o;
    o.comparators = std::move(list);
    auto s = pleach::store::open_memory(64 * mib, o);
    DOCTEST_REQUIRE(!s);
    DOCTEST_CHECK(s.error().what() == category::invalid);
  };
  refused({{"", compare}});
  refused({{std::string(65, 'n'), compare}});
  refused({{std::string("a\0b", 3), compare}});
  refused({{"twice", compare}, {"twice", compare}});
  refused({{"none", nullptr}});
  pleach::store s = *pleach::store::open_memory(64 * mib, with_comparators(16 * mib));
  pleach::tree t;
  const pleach::tree_options bad[] = {{.order = key_order::registered}, {.comparator = "reverse"}};
  for (const pleach::tree_options& o : bad)
    DOCTEST_CHECK(s.run(s.create_tree("t", o, t)).what() == category::invalid);
}

DOCTEST_TEST_CASE("lengths that no integer has") {
  pleach::store s = open_memory(64 * mib);
  pleach::tree t;
  for (const u32 bytes : {0u, 17u}) {
    const auto a =
        s.run(s.create_tree("t", {.key_bytes = bytes, .order = key_order::unsigned_integers}, t));
    DOCTEST_CHECK(a.what() == category::invalid);
  }
  DOCTEST_CHECK(s.run(s.create_tree("t", {.order = static_cast<key_order>(9)}, t)).what() ==
                category::invalid);
}

}  // namespace
