// Proves: cut the power at each event of the device while long keys are put, changed and deleted,
// leaves split and merge among them and ranges of them go: recovery comes to the state before or
// behind the operation that was under way, the check finds nothing, and the store works on.
#include <map>
#include <set>
#include <vector>

#include "btree/cut_op.hh"
#include "tests/support/sim_store.hh"

namespace pleach {
namespace {

using model = std::map<std::string, std::string>;

constexpr u32 inline_bytes = 1024;

/// Key `i` of a group that shares `shared` bytes, of as many bytes as asked for at least.
std::string key_of(u32 shared, u32 i, u32 length = 0) {
  std::string k(shared, static_cast<char>('a' + shared % 26));
  k += numbered(i);
  if (k.size() < length) k.append(length - k.size(), 't');
  return k;
}

/// One operation, always durable when it is done.
struct step {
  enum what : u8 { PUT, DEL, RANGE } kind;
  std::string key;
  std::string value{};  ///< RANGE: its end
};

void apply(model& m, const step& s) {
  if (s.kind == step::PUT)
    m[s.key] = s.value;
  else if (s.kind == step::DEL)
    m.erase(s.key);
  else
    m.erase(m.lower_bound(s.key), m.lower_bound(s.value));
}

/// RETURNS: what it ended with.
errc run(fixture& f, btree::tree& t, const step& s) {
  if (s.kind == step::RANGE) {
    u64 removed = 0;
    btree::cut_op op(*f.store->ctx);
    const cbytes to = as_bytes(s.value);
    op.prepare(t, *f.store->catalogue, as_bytes(s.key), &to, removed, {});
    return f.run(op);
  }
  btree::write_op op;
  op.prepare(t, s.kind == step::PUT ? change::UPSERT : change::DELETE, as_bytes(s.key),
             as_bytes(s.value), nullptr, true);
  return f.run(op);
}

model records_of(fixture& f, btree::tree& t) {
  model all;
  std::string key, value, from;
  seek mode = seek::AT_LEAST;
  for (;;) {
    btree::read_op op;
    op.prepare(t, mode, as_bytes(from), {&key, &value, nullptr});
    const errc code = f.run(op);
    if (code == errc::not_found) break;
    DOCTEST_REQUIRE(code == errc::ok);
    DOCTEST_REQUIRE((all.empty() || all.rbegin()->first < key));
    all[key] = value;
    from = key;
    mode = seek::AFTER;
  }
  auto at = all.rbegin();
  for (mode = seek::LAST;; ++at, from = key, mode = seek::BEFORE) {
    btree::read_op op;
    op.prepare(t, mode, as_bytes(from), {&key, nullptr, nullptr});
    if (f.run(op) == errc::not_found) break;
    DOCTEST_REQUIRE((at != all.rend() && at->first == key));
  }
  DOCTEST_REQUIRE((at == all.rend()));
  return all;
}

/// What the device holds after a power cut, and how many steps were acknowledged before it.
struct cut_image {
  io::sim_image image;
  std::size_t done;
  const char* policy;
};

/// Of a step that is not one transaction some of its records may be gone.
bool between(const model& found, const model& before, const model& after) {
  for (const auto& r : after)
    if (!found.contains(r.first)) return false;
  for (const auto& [k, v] : found) {
    const auto at = before.find(k);
    if (at == before.end() || at->second != v) return false;
  }
  return true;
}

void check(const cut_image& c, const std::vector<step>& steps, const model& before,
           const model& after, bool works_on) {
  DOCTEST_CAPTURE(c.policy);
  DOCTEST_CAPTURE(c.done);
  io::sim_environment env;
  auto opened = core::open(env, std::make_unique<io::sim_device>(env, c.image),
                           {.cache_bytes = 6 << 20}, "image");
  DOCTEST_REQUIRE(opened);
  fixture f(*opened);
  btree::tree& t = f.open("t");
  const model found = records_of(f, t);
  const bool range = c.done < steps.size() && steps[c.done].kind == step::RANGE;
  DOCTEST_REQUIRE((found == before || found == after || (range && between(found, before, after))));
  check_sound(*f.store);
  if (!works_on) return;
  // All can be deleted, and put again.
  for (const auto& r : found) DOCTEST_REQUIRE(f.erase(t, r.first) == errc::ok);
  check_sound(*f.store);
  for (const auto& [k, v] : found) DOCTEST_REQUIRE(f.put(t, k, v) == errc::ok);
  DOCTEST_REQUIRE((records_of(f, t) == found));
  check_sound(*f.store);
}

/// Runs the steps and cuts the power at events of the device, `per_mille` of them.
void survive(const std::vector<step>& steps, u32 node_blocks, u32 per_mille, u64 seed) {
  random_stream random(seed);
  std::vector<cut_image> cuts;
  std::vector<model> states(1);
  std::size_t done = 0;
  {
    fixture f(node_blocks, 128, 6 << 20);
    btree::tree& t = f.create("t", static_cast<u16>(node_blocks));
    f.home();
    f.device->on_event = [&](io::sim_device& d) {
      if (!random.chance(per_mille)) return;
      const io::crash_policy p{
          static_cast<io::crash_policy::kind>(random.below(io::crash_policy::kinds))};
      cuts.push_back({d.crash_image(random, p), done, io::name_of(p.what)});
    };
    for (const step& s : steps) {
      DOCTEST_REQUIRE(run(f, t, s) == errc::ok);
      states.push_back(states.back());
      apply(states.back(), s);
      ++done;
    }
    DOCTEST_REQUIRE((records_of(f, t) == states.back()));
    f.device->on_event = nullptr;
  }
  DOCTEST_CHECK(cuts.size() > 15);
  DOCTEST_MESSAGE("crash images: ", cuts.size());
  for (std::size_t i = 0; i < cuts.size(); ++i) {
    const std::size_t at = cuts[i].done;
    check(cuts[i], steps, states[at], states[std::min(at + 1, states.size() - 1)], i % 10 == 0);
  }
}

}  // namespace

DOCTEST_TEST_CASE("puts and deletes of a few long keys, at each event of the device") {
  std::vector<step> steps;
  for (u32 length : {inline_bytes, inline_bytes + 1, 5000u, 300'000u, 1u << 20}) {
    steps.push_back({step::PUT, key_of(100, 1, length), "v"});
    steps.push_back({step::PUT, key_of(100, 1, length), std::string(9000, 'w')});
  }
  for (u32 length : {5000u, inline_bytes + 1, 1u << 20, 300'000u, inline_bytes})
    steps.push_back({step::DEL, key_of(100, 1, length)});
  survive(steps, 1, 200, 1);
}

DOCTEST_TEST_CASE("a group fills several leaves, is thinned out and emptied") {
  for (u32 node_blocks : {1u, 4u}) {
    std::vector<step> steps;
    random_stream r(node_blocks);
    std::set<u32> there;
    for (u32 i = 0; i < 160; ++i) {
      const u32 id = static_cast<u32>(r.below(120));
      there.insert(id);
      steps.push_back({step::PUT, key_of(1500, id), std::string(i % 40, 'v')});
    }
    while (!there.empty()) {
      const auto at = std::next(there.begin(), static_cast<std::ptrdiff_t>(r.below(there.size())));
      steps.push_back({step::DEL, key_of(1500, *at)});
      there.erase(at);
    }
    survive(steps, node_blocks, 50, 2);
  }
}

DOCTEST_TEST_CASE("ranges go whose bounds are long, from a tree whose separators are long") {
  std::vector<step> steps;
  for (u32 i = 0; i < 150; ++i) steps.push_back({step::PUT, key_of(1500, i * 7 % 150), "v"});
  steps.push_back({step::RANGE, key_of(1500, 30), key_of(1500, 60)});
  steps.push_back({step::RANGE, key_of(1500, 10, 2000), key_of(1500, 100, 3000)});
  for (u32 i = 40; i < 90; ++i) steps.push_back({step::PUT, key_of(1500, i), "again"});
  steps.push_back({step::RANGE, key_of(1500, 0).substr(0, inline_bytes), key_of(1500, 120)});
  steps.push_back({step::RANGE, "a", "~"});
  survive(steps, 1, 70, 3);
}

}  // namespace pleach
