// Shows every record of a tree to a function of the caller, which may replace or delete it: how a
// program converts its own records, while others read and write the tree.
//
//     edit_all(tree, editor):
//       key = before the first
//       loop:
//         await key = least key > key               # none: the end
//         await modify(key): ask the editor about the record as it is then; KEEP if it has gone
//         let the others run
//       await durable(lsn of the last change)
//
// Each record is a transaction of its own. A key that lives throughout is edited exactly once; of
// those that come or go meanwhile some are. The editor is asked again about a record that another
// operation changes before its edit is made: only its last answer counts.
#pragma once

#include "btree/read_op.hh"
#include "btree/write_op.hh"

namespace pleach::btree {

/// As `editor`, for records that are there.
struct record_editor {
  verdict (*fn)(void* datum, cbytes key, std::string& value) = nullptr;
  void* datum = nullptr;
};

#define PLEACH_EDIT_ALL_PHASES(X)         \
  X(INIT, NOWAIT, FIND, CLEANUP)          \
  X(FIND, WAIT, FOUND, CLEANUP)           \
  X(FOUND, NOWAIT, EDIT, COMMIT, CLEANUP) \
  X(EDIT, WAIT, EDITED, CLEANUP)          \
  X(EDITED, NOWAIT, PAUSE, CLEANUP)       \
  X(PAUSE, WAIT, FIND, CLEANUP)           \
  X(COMMIT, WAIT, COMMIT, CLEANUP)        \
  X(CLEANUP, NOWAIT, DONE)                \
  X(DONE, NOWAIT)

class edit_all_op final : public sm::machine<edit_all_op> {
 public:
  PLEACH_PHASES("edit_all", PLEACH_EDIT_ALL_PHASES)

  struct progress {
    u64 records = 0;  ///< shown to the editor
    u64 changed = 0;  ///< of them stored or deleted
  };
  void prepare(tree& t, const record_editor& e);
  const progress& so_far() const { return progress_; }
  page_addr bad_page() const { return bad_; }
  /// The record that the op was at when it failed.
  const std::string& key() const { return key_; }
  sm::step tick(phase p) noexcept;

 private:
  sm::step find();
  sm::step found();
  sm::step edit();
  sm::step edited();
  sm::step commit();
  static verdict decide(void* self, bool present, std::string& value);

  tree* tree_ = nullptr;
  record_editor editor_;
  progress progress_;
  page_addr bad_;
  bool begun_ = false;
  bool shown_ = false;
  std::string key_, next_, value_;
  read_op read_;
  write_op write_;
};

}  // namespace pleach::btree
