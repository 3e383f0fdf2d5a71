// Proves: whatever pages of a store are damaged, one repair makes it sound; no record is wrong
// afterwards, and none is missing but from the damaged leaves; a second repair finds nothing; one
// that is cut short is gone on with by the next; the undo file brings back every byte.
#include "tests/repair/damaged.hh"

using namespace repair_test;
using pleach::page_kind;

namespace {

void flip(image& x, u64 at, std::mt19937_64& random) {
  x[at] ^= std::byte{static_cast<unsigned char>(1u << random() % 8)};
}

/// Damages one page. RETURNS: a word for it.
std::string damage(image& x, const page_place& p, std::mt19937_64& random) {
  const u64 at = p.addr.offset(), size = p.addr.size();
  std::byte* const page = x.data() + at;
  switch (random() % 6) {
    case 0:
      flip(x, at + random() % size, random);
      return "flip";
    case 1:
      std::memset(page, 0, size);
      return "zeroed";
    case 2:
      std::memcpy(page + random() % (size / 512) * 512, bytes_of(random(), 512).data(), 512);
      return "sector";
    case 3:
      std::memset(page, 0, 64);
      return "header";
    case 4: {
      const page_place& other = sample::get().pages[random() % sample::get().pages.size()];
      std::memcpy(page, sample::get().bytes.data() + other.addr.offset(),
                  std::min<u64>(size, other.addr.size()));
      return "another page's";
    }
    default:
      std::memcpy(page, bytes_of(random(), size).data(), size);
      return "garbage";
  }
}

/// The trees whose leaves, extents or records were hit: only they may miss any.
std::set<u64> trees_of(const std::vector<page_place>& hit, bool leaves_only) {
  std::set<u64> ids;
  for (const page_place& p : hit)
    if (!leaves_only || p.level == 0) ids.insert(p.tree);
  return ids;
}

u64 id_of(const std::string& name) {
  const char* const names[] = {"plain", "high", "summed", "fixed", "counted", "large"};
  for (u64 i = 0; i < std::size(names); ++i)
    if (name == names[i]) return 2 + i;
  return 0;
}

/// Opens what was repaired. Nothing in it is wrong; what is missing is from damaged leaves.
void judge(const std::string& path, const std::vector<page_place>& hit) {
  pleach::store s = open(path, 32 * mib);
  require_clean(s);
  const content now = content_of(s);
  const std::set<u64> may_miss = trees_of(hit, true);
  const bool catalogue_hit = may_miss.contains(pleach::tree_catalogue);
  for (const auto& [name, was] : sample::get().all) {
    const auto found = now.find(name);
    // With the catalogue goes the name; the tree is there under another one.
    const std::string other = "lost+found-tree-" + std::to_string(id_of(name));
    const records& is = found != now.end() ? found->second : now.at(other);
    if (found == now.end()) DOCTEST_CHECK(catalogue_hit);
    for (const auto& [key, value] : is) {
      const auto before = was.find(key);
      DOCTEST_REQUIRE_MESSAGE(before != was.end(), name << " has a new key");
      DOCTEST_REQUIRE_MESSAGE(before->second == value, name << " has a wrong value");
    }
    if (!may_miss.contains(id_of(name))) DOCTEST_REQUIRE_MESSAGE(is.size() == was.size(), name);
  }
  // It works on.
  create(s, "judged");
  for (const auto& [name, r] : now) {
    pleach::tree t = open_tree(s, name);
    if (name != "fixed" && !name.starts_with("lost+found-tree"))
      require_ok(s.run(t.put("a new one", "v", pleach::durability::durable)));
  }
  DOCTEST_REQUIRE(s.close());
}

u64 rounds(u64 full) {
  const char* effort = std::getenv("PLEACH_EFFORT");
  return effort != nullptr && std::string_view(effort) == "reduced" ? full / 8 : full;
}

}  // namespace

DOCTEST_TEST_CASE("one repair makes any damage of pages good, and can be undone") {
  const sample& good = sample::get();
  std::mt19937_64 random(base_seed());
  std::map<std::string, u64> kinds;
  for (u64 round = 0; round < rounds(120); ++round) {
    image x = good.bytes;
    std::vector<page_place> hit;
    std::string story;
    for (u64 n = 1 + random() % 4; n != 0; --n) {
      // Every other one hits what there is little of: bitmaps, the root block, inner nodes.
      const page_place* p = &good.pages[random() % good.pages.size()];
      while (random() % 2 != 0 && p->kind == page_kind::leaf)
        p = &good.pages[random() % good.pages.size()];
      const std::string how = damage(x, *p, random);
      hit.push_back(*p);
      story += how + " page " + std::to_string(p->addr.block()) + " kind " +
               std::to_string(static_cast<int>(p->kind)) + " tree " + std::to_string(p->tree) +
               " level " + std::to_string(p->level) + "; ";
    }
    DOCTEST_CAPTURE(round);
    DOCTEST_CAPTURE(story);
    scratch_file f("repair"), undo("repair-undo");
    write_file(f.path, x);
    const mended m = mend(f.path, {.undo_file = undo.path});
    DOCTEST_CAPTURE(lines_of(m));
    DOCTEST_REQUIRE(m.report.left == 0);
    const mended again = mend(f.path);
    DOCTEST_CAPTURE(lines_of(again));
    DOCTEST_REQUIRE(again.report.repaired == 0);
    if (round % 2 == 0) {
      judge(f.path, hit);
      auto undone = pleach::undo_repair(undo.path, f.path);
      DOCTEST_REQUIRE(!undone.has_value());  // it was written since
      DOCTEST_REQUIRE(undone.error().what() == pleach::category::conflict);
    } else {
      auto undone = pleach::undo_repair(undo.path, f.path);
      DOCTEST_REQUIRE_MESSAGE(undone.has_value(), (undone ? "" : undone.error().message));
      DOCTEST_REQUIRE(read_file(f.path) == x);
    }
  }
}

DOCTEST_TEST_CASE("a store without damage is left as it is") {
  const sample& good = sample::get();
  scratch_file f("repair-none"), undo("repair-none-undo");
  write_file(f.path, good.bytes);
  const mended m = mend(f.path, {.undo_file = undo.path});
  DOCTEST_CHECK(m.report.repaired == 0);
  DOCTEST_CHECK(m.report.pages_written == 0);
  DOCTEST_CHECK(read_file(f.path) == good.bytes);
  DOCTEST_CHECK(*pleach::is_clean(f.path, pleach::device_kind::automatic));
}

DOCTEST_TEST_CASE("safe repairs lose nothing and leave the rest") {
  const sample& good = sample::get();
  std::mt19937_64 random(base_seed() + 1);
  for (u64 round = 0; round < rounds(40); ++round) {
    image x = good.bytes;
    scratch_file f("repair-safe");
    const page_place& p = good.pages[random() % good.pages.size()];
    const bool space = round % 2 == 0;
    if (space) {  // a superblock copy, and bits of the bitmap
      flip(x, (random() % 4) * 256 * 4096 + random() % 4096, random);
    } else {
      damage(x, p, random);
    }
    write_file(f.path, x);
    const mended m = mend(f.path, {.safe_only = true});
    DOCTEST_CAPTURE(lines_of(m));
    if (space) {
      DOCTEST_REQUIRE(m.report.left == 0);
      DOCTEST_REQUIRE(m.report.repaired == 1);
      judge(f.path, {});
    } else if (p.kind == page_kind::leaf || p.kind == page_kind::inner) {
      if (m.report.left == 0) continue;  // another page's: its own
      DOCTEST_REQUIRE(m.report.pages_written == 0);
      DOCTEST_REQUIRE(read_file(f.path) == x);
    }
  }
}

DOCTEST_TEST_CASE("a repair that is cut short is gone on with by the next") {
  const sample& good = sample::get();
  std::mt19937_64 random(base_seed() + 2);
  for (u64 round = 0; round < rounds(24); ++round) {
    image x = good.bytes;
    std::vector<page_place> hit;
    for (int n = 0; n < 3; ++n) {
      hit.push_back(good.pages[random() % good.pages.size()]);
      damage(x, hit.back(), random);
    }
    scratch_file f("repair-cut");
    write_file(f.path, x);
    u64 steps = random() % 12;
    pleach::repair_options o;
    o.progress = [&](u64, u64) { return steps-- != 0; };
    auto cut = pleach::repair_store(f.path, o);
    if (!cut) DOCTEST_REQUIRE(cut.error().what() == pleach::category::cancelled);
    const mended m = mend(f.path);
    DOCTEST_CAPTURE(lines_of(m));
    DOCTEST_REQUIRE(m.report.left == 0);
    judge(f.path, hit);
  }
}

DOCTEST_TEST_CASE("records that nothing proves are saved before their leaf is overwritten") {
  const sample& good = sample::get();
  // A leaf without checksums loses its sum only: all its records can be read.
  const auto leaf = std::ranges::find_if(
      good.pages, [](const page_place& p) { return p.tree == 2 && p.level == 0; });
  DOCTEST_REQUIRE(leaf != good.pages.end());
  image x = good.bytes;
  x[leaf->addr.offset() + 8] ^= std::byte{1};
  for (u64 stop = 0; stop < 8; ++stop) {
    scratch_file f("repair-saved");
    write_file(f.path, x);
    u64 steps = stop;
    pleach::repair_options o;
    o.progress = [&](u64, u64) { return steps-- != 0; };
    (void)pleach::repair_store(f.path, o);
    const mended m = mend(f.path);
    DOCTEST_REQUIRE(m.report.left == 0);
    pleach::store s = open(f.path, 32 * mib);
    require_clean(s);
    const content now = content_of(s);
    const records& was = good.all.at("plain");
    const records& is = now.at("plain");
    const records& saved = now.at("lost+found");
    DOCTEST_CHECK(is.size() + saved.size() == was.size());
    for (const auto& [key, value] : was) {
      const auto there = is.find(key);
      DOCTEST_REQUIRE((there != is.end() ? there->second
                                         : saved.at(std::string("plain") + '\0' + key)) == value);
    }
  }
}

DOCTEST_TEST_CASE("with a problem that is left, no leaf with records to be saved is overwritten") {
  // The root of a tree whose order only a comparator knows is damaged, and a leaf of another tree.
  scratch_file f("repair-left");
  format(f.path, 16 * mib, 2 * mib);
  pleach::open_options oo;
  oo.cache_bytes = 16 * mib;
  oo.comparators = {
      {"reversed", [](std::string_view a, std::string_view b, void*) { return b.compare(a); }}};
  {
    auto s = pleach::store::open(f.path, oo);
    DOCTEST_REQUIRE(s.has_value());
    pleach::tree_options o{.node_bytes = 4096};
    pleach::tree plain, ordered;
    require_ok(s->run(s->create_tree("plain", o, plain)));
    o.order = pleach::key_order::registered;
    o.comparator = "reversed";
    require_ok(s->run(s->create_tree("ordered", o, ordered)));
    for (u64 i = 0; i < 400; ++i)
      for (pleach::tree* t : {&plain, &ordered})
        require_ok(s->run(
            t->put("key" + std::to_string(i), bytes_of(i, 50), pleach::durability::ordered)));
    plain = ordered = {};
    DOCTEST_REQUIRE(s->close());
  }
  image x = read_file(f.path);
  u64 leaf = 0, root = 0;
  for (u64 b = 0; b < x.size() / 4096; ++b) {
    const auto& h = *reinterpret_cast<const pleach::page_header*>(x.data() + b * 4096);
    if (h.magic != pleach::page_magic || h.address != pleach::page_addr(b, 1).raw) continue;
    if (h.tree_id == 2 && h.level == 0) leaf = b;
    if (h.tree_id == 3 && h.level == 1) root = b;
  }
  DOCTEST_REQUIRE((leaf != 0 && root != 0));
  x[leaf * 4096 + 8] ^= std::byte{1};
  x[root * 4096 + 8] ^= std::byte{1};
  write_file(f.path, x);
  const mended m = mend(f.path);
  DOCTEST_CHECK(m.report.left == 2);
  const image after = read_file(f.path);
  DOCTEST_CHECK(std::equal(x.begin() + leaf * 4096, x.begin() + (leaf + 1) * 4096,
                           after.begin() + leaf * 4096));
}
