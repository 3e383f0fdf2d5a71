// Where a step begins and ends, for whoever watches.
//
// A step is what runs without letting anybody else run: one tick of an operation, with those of its
// sub-operations that it runs itself; or a `step_scope` of code that is no operation. Nobody
// watches in production: then each end of a step is one predictable branch.
#pragma once

namespace pleach::sm {

class op;

class step_watch {
 public:
  virtual ~step_watch() = default;
  /// Steps may stand inside one another: the outermost counts. `runs`: null for a step_scope of
  /// code that is no operation.
  virtual void step_begins(const op* runs) = 0;
  virtual void step_ends() = 0;
};

/// Of this process. For tests, which set it while no reactor runs, and run reactors of one thread
/// while it is set.
inline constinit step_watch* watched_by = nullptr;

class step_scope {
 public:
  explicit step_scope(const op* runs = nullptr) {
    if (watched_by != nullptr) [[unlikely]]
      watched_by->step_begins(runs);
  }
  ~step_scope() {
    if (watched_by != nullptr) [[unlikely]]
      watched_by->step_ends();
  }
  step_scope(const step_scope&) = delete;
  step_scope& operator=(const step_scope&) = delete;
};

}  // namespace pleach::sm
