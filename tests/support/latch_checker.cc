#include "tests/support/latch_checker.hh"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>

#include "btree/node.hh"

namespace pleach {

using cache::descriptor;

namespace {

/// RETURNS: a hash of what a descent relies on: fences, level, children with their separators; 0 if
/// the page is no node (yet).
u64 structure_of(cbytes page) {
  const page_header& h = *reinterpret_cast<const page_header*>(page.data());
  bool node = u32{h.magic} == page_magic && (u16{h.kind} == static_cast<u16>(page_kind::leaf) ||
                                             u16{h.kind} == static_cast<u16>(page_kind::inner));
  if (!node) return 0;
  btree::node_view n(page_reader(page.data(), static_cast<u32>(page.size())));
  u64 sum = mix64(n.level() + 1);
  auto add = [&](cbytes b) { sum = mix64(sum ^ hash64(b)); };
  add(n.low_fence());
  if (n.has_high_fence()) add(n.high_fence());
  if (n.is_leaf()) return sum | 1;
  std::vector<std::byte> key(btree::max_stored_key_bytes);
  for (u32 i = 0; i < n.count(); ++i) {
    page_ref child = n.child(i);
    add({key.data(), n.copy_key(i, key.data())});
    sum = mix64(sum ^ child.addr.raw) + child.gen;
  }
  return sum | 1;
}

}  // namespace

latch_checker::latch_checker(std::function<void(const std::string&)> violation)
    : violation_(std::move(violation)) {
  PLEACH_ASSERT(cache::latch_watch == nullptr);
  cache::latch_watch = this;
  sm::watched_by = this;
}

latch_checker::~latch_checker() {
  PLEACH_ASSERT(arenas_.empty());
  cache::latch_watch = nullptr;
  sm::watched_by = nullptr;
}

void latch_checker::wrong(const descriptor& d, const char* what) {
  std::string words = "page " + std::to_string(d.addr.block()) + "+" +
                      std::to_string(d.addr.blocks()) + ": " + what;
  if (violation_) violation_(words);
  std::fprintf(stderr, "latch hooks: %s\n", words.c_str());
  std::abort();
}

// --- memory ---

void latch_checker::arena_made(std::byte* base, u64 length) {
  arenas_[base].resize(length >> block_shift);
  PLEACH_ASSERT(mprotect(base, length, PROT_NONE) == 0);
}

void latch_checker::arena_gone(std::byte* base, u64 length) {
  arenas_.erase(base);
  PLEACH_ASSERT(mprotect(base, length, PROT_READ | PROT_WRITE) == 0);
}

/// Changes the units of the range and sets the protection that follows from them.
template <class Change>
void latch_checker::with_units(std::byte* at, u64 length, Change&& change) {
  auto found = arenas_.upper_bound(at);
  PLEACH_ASSERT(found != arenas_.begin());
  --found;
  u64 first = static_cast<u64>(at - found->first) >> block_shift;
  auto protection = [](const unit& u) {
    if (u.uses != 0 || u.open == mode::CHANGE) return PROT_READ | PROT_WRITE;
    return u.open == mode::READ ? PROT_READ : PROT_NONE;
  };
  for (u64 k = 0; k < length >> block_shift; ++k) {
    unit& u = found->second.at(first + k);
    int before = protection(u);
    change(u);
    if (protection(u) != before)
      PLEACH_ASSERT(mprotect(at + (k << block_shift), block_bytes, protection(u)) == 0);
  }
}

void latch_checker::set_mode(std::byte* at, u64 length, mode m) {
  with_units(at, length, [m](unit& u) { u.open = m; });
}

void latch_checker::use(std::byte* at, u64 length) {
  with_units(at, length, [](unit& u) { ++u.uses; });
}

void latch_checker::used(std::byte* at, u64 length) {
  if (depth_ != 0) filled_.insert(at);
  with_units(at, length, [](unit& u) {
    PLEACH_ASSERT(u.uses != 0);
    --u.uses;
  });
}

// --- brackets ---

void latch_checker::step_begins(const sm::op*) {
  if (depth_++ == 0) ++counts_.steps;
}

void latch_checker::step_ends() {
  PLEACH_ASSERT(depth_ != 0);
  if (--depth_ != 0) return;
  for (auto& [d, b] : open_) {
    if (b.open == mode::CHANGE) compare(*d, b);
    set_mode(b.data, b.bytes, mode::CLOSED);
  }
  open_.clear();
  filled_.clear();
}

void latch_checker::read(const descriptor& d) {
  if (depth_ == 0) wrong(d, "it is read outside of a step");
  if (d.data == nullptr) wrong(d, "it is read although it has no frame");
  bracket& b = open_[&d];
  if (b.open != mode::CLOSED) return;
  b = {mode::READ, d.data, d.size(), 0, 0, 0, 0};
  set_mode(b.data, b.bytes, mode::READ);
  ++counts_.reads;
}

void latch_checker::change(descriptor& d) {
  if (depth_ == 0) wrong(d, "it is changed outside of a step");
  if (in_guard_ && !guarded_.contains(&d) && !filled_.contains(d.data))
    wrong(d, "it is changed in a step whose guard does not name it");
  bracket& b = open_[&d];
  if (b.open == mode::CHANGE) return;
  b = {mode::CHANGE, d.data, d.size(), d.content_version, d.structure_version, 0, 0};
  set_mode(b.data, b.bytes, mode::CHANGE);
  b.hash = hash64({b.data, b.bytes});
  b.structure = structure_of({b.data, b.bytes});
  ++counts_.changes;
}

void latch_checker::left(const descriptor& d) {
  auto found = open_.find(&d);
  if (found == open_.end()) return;
  if (found->second.open == mode::CHANGE) compare(d, found->second);
  set_mode(found->second.data, found->second.bytes, mode::CLOSED);
  open_.erase(found);
  ++counts_.left;
}

/// I2 of latch.hh.
void latch_checker::compare(const descriptor& d, const bracket& b) {
  cbytes page{b.data, b.bytes};
  if (hash64(page) == b.hash) return;
  if (d.content_version == b.content_version) wrong(d, "its bytes changed, its version did not");
  ++counts_.content_versions;
  if (b.structure == 0 || structure_of(page) == b.structure) return;
  if (d.structure_version == b.structure_version)
    wrong(d, "its fences, level or children changed, its structure version did not");
  ++counts_.structure_versions;
}

// --- guards ---

void latch_checker::guard(descriptor& d) {
  if (in_guard_) wrong(d, "a guard inside another one");
  guarded_.insert(&d);
}

void latch_checker::guarded() {
  in_guard_ = true;
  ++counts_.guards;
}

void latch_checker::guard_ends() {
  in_guard_ = false;
  guarded_.clear();
}

bool latch_checker::try_more(descriptor& d) {
  if (guarded_.contains(&d)) return true;
  if (refuse_every_ != 0 && ++tries_ % refuse_every_ == 0) {
    ++counts_.refusals;
    return false;
  }
  guarded_.insert(&d);
  return true;
}

}  // namespace pleach
