// Rewrites the leaves of a tree that are of an old version as leaves of the newest one, while
// others read and write the tree.
//
//     upgrade(tree):
//       key = ""
//       until key is the end of the tree:
//         await convert(the leaf that holds key)    # a write of its own: one leaf, one transaction
//         key = where the next leaf begins
//         let the others run
//       await durable(lsn of the last conversion)
//
// The leaves of a tree divide its keys without gap at every moment, and leaves that others make
// once the first one was converted are of the newest version: at the end none is old, whatever was
// split, merged or emptied meanwhile. A leaf that is up to date changes nothing and logs nothing;
// so what was cancelled, or interrupted by a crash, is finished by another upgrade.
#pragma once

#include "btree/write_op.hh"

namespace pleach::btree {

#define PLEACH_UPGRADE_PHASES(X)               \
  X(INIT, NOWAIT, CONVERT, CLEANUP)            \
  X(CONVERT, WAIT, CONVERTED, CLEANUP)         \
  X(CONVERTED, NOWAIT, PAUSE, COMMIT, CLEANUP) \
  X(PAUSE, WAIT, CONVERT, CLEANUP)             \
  X(COMMIT, WAIT, COMMIT, CLEANUP)             \
  X(CLEANUP, NOWAIT, DONE)                     \
  X(DONE, NOWAIT)

class upgrade_op final : public sm::machine<upgrade_op> {
 public:
  PLEACH_PHASES("upgrade", PLEACH_UPGRADE_PHASES)

  /// `leaves` and `converted` count, while it runs, the leaves looked at and those converted of
  /// them; the caller's until DONE.
  void prepare(tree& t, u64& leaves, u64& converted);
  page_addr bad_page() const { return write_.bad_page(); }
  sm::step tick(phase p) noexcept;

 private:
  sm::step convert();
  sm::step converted();
  sm::step commit();

  tree* tree_ = nullptr;
  u64* leaves_ = nullptr;
  u64* converted_ = nullptr;
  std::string key_;
  converted_leaf leaf_;
  write_op write_;
};

}  // namespace pleach::btree
