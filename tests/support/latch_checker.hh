// Checks that every access to a page's bytes stands in a bracket (pagecache/latch.hh).
//
// How: the frames of every cache are inaccessible (mprotect) but for the pages whose bracket is
// open in the present step, readable or writable as the bracket says, and for what the cache itself
// or a device uses. So an access outside of a bracket, through a pointer kept over a step, over a
// `pin` that moved the page, or to change a page that is open for reading, ends in SIGSEGV. At the
// end of a bracket to change, bytes and versions are compared (I1, I2 of latch.hh): what differs
// without a new version, which concurrent operations could not see, goes to `violation`.
//
// For one thread at a time.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "pagecache/descriptor.hh"

namespace pleach {

struct latch_counts {
  u64 steps = 0, reads = 0, changes = 0, guards = 0, refusals = 0;
  u64 left = 0;  ///< brackets that ended because their page lost its frame
  u64 content_versions = 0, structure_versions = 0;  ///< changed bytes, fences or children
};

class latch_checker final : public cache::latch_hooks {
 public:
  /// `violation` must not return. By default it prints and aborts.
  explicit latch_checker(std::function<void(const std::string&)> violation = {});
  /// REQUIRES: all stores that were opened meanwhile are closed.
  ~latch_checker() override;

  const latch_counts& counts() const { return counts_; }
  /// Every n-th `try_latch` of a page fails; 0: none does.
  void refuse_every(u64 n) { refuse_every_ = n; }

  void step_begins(const sm::op* runs) override;
  void step_ends() override;
  void read(const cache::descriptor& d) override;
  void change(cache::descriptor& d) override;
  void left(const cache::descriptor& d) override;
  void guard(cache::descriptor& d) override;
  void guarded() override;
  void guard_ends() override;
  bool try_more(cache::descriptor& d) override;
  void use(std::byte* at, u64 length) override;
  void used(std::byte* at, u64 length) override;
  void arena_made(std::byte* base, u64 length) override;
  void arena_gone(std::byte* base, u64 length) override;

 private:
  enum class mode : u8 { CLOSED, READ, CHANGE };
  struct unit {
    u32 uses = 0;
    mode open = mode::CLOSED;
  };
  using arena = std::vector<unit>;
  struct bracket {
    mode open = mode::CLOSED;
    std::byte* data = nullptr;
    u32 bytes = 0;
    u64 content_version = 0, structure_version = 0, hash = 0, structure = 0;
  };

  template <class Change>
  void with_units(std::byte* at, u64 length, Change&& change);
  void set_mode(std::byte* at, u64 length, mode m);
  void compare(const cache::descriptor& d, const bracket& b);
  [[noreturn]] void wrong(const cache::descriptor& d, const char* what);

  std::function<void(const std::string&)> violation_;
  std::map<std::byte*, arena> arenas_;
  std::unordered_map<const cache::descriptor*, bracket> open_;
  std::set<const cache::descriptor*> guarded_;
  std::set<const std::byte*> filled_;  ///< frames that the cache filled in this step: new pages
  bool in_guard_ = false;
  u32 depth_ = 0;
  u64 refuse_every_ = 0, tries_ = 0;
  latch_counts counts_;
};

}  // namespace pleach
