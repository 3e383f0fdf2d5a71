// An open store: environment, reactor, device, cache, engine and trees wired together.
//
// What it is not: the public API (include/pleach); that is thin faces over this. The simulation
// opens a core over its own device and environment.
//
// I1 Order of life: reactor, device, cache, engine, trees; taken down in reverse.
// I2 Every byte of the budget is given out here, once: log buffers, recovery index, scratch page,
//    the cache gets the rest.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "be/io/device.hh"
#include "be/volume.hh"
#include "btree/tree.hh"
#include "btree/write_op.hh"

namespace pleach::store_layer {

struct core_options {
  u64 cache_bytes = 256ull << 20;
  bool read_only = false;
  /// Simulation: smaller log buffers than the budget would give; 0 = by the budget.
  u64 log_buffer_bytes = 0;
  /// Simulation: values of more blocks have a map, of runs about so long; 0 = as long as a run can
  /// be.
  u32 max_run_blocks = 0;
  /// Orders that trees may name.
  std::map<std::string, btree::registered_order, std::less<>> orders{};
};

/// A failure of a blocking call, with a sentence for a person.
struct trouble {
  errc code = errc::ok;
  std::string message;
};
template <class T>
using attempt = std::expected<T, trouble>;
std::unexpected<trouble> in_trouble(errc code, std::string message);

class core;

/// A tree that is open through at least one handle.
struct open_tree {
  std::shared_ptr<core> owner;
  btree::tree t;
  explicit open_tree(std::shared_ptr<core> c);
};

struct format_spec {
  u64 size_bytes = 0;  // of the store; 0: all of the device
  u64 log_bytes = 0;   ///< 0: 64 MiB, or a quarter of a small volume
  u32 max_node_blocks = 16;
  u8 uuid[16] = {};
  void (*progress)(u64 done, u64 total) = nullptr;
};

class core {
 public:
  /// Makes a store of all of `dev`. Blocking.
  static attempt<void> format(sm::environment& env, io::device& dev, const format_spec& spec);

  /// Opens the store on `dev`, recovering as needed. Blocking. `name` is what messages call it.
  static attempt<std::shared_ptr<core>> open(sm::environment& env, std::unique_ptr<io::device> dev,
                                             const core_options& options, const std::string& name);
  ~core();

  /// Ends: operations in flight are waited for, all is made durable and written home. Idempotent.
  attempt<void> close();
  /// Stops at once, as a crash would, but without leaking: nothing further is written. For the
  /// simulation.
  void abandon();

  attempt<void> grow(u64 new_bytes);

  /// RETURNS: the open tree of that catalogue record, shared with other handles; null if its
  /// `comparator` is not there.
  std::shared_ptr<open_tree> tree_for(const std::shared_ptr<core>& self, std::string_view name,
                                      const btree::tree_record& record,
                                      std::string_view comparator = {});
  /// RETURNS: the name of a comparator that is not there, for answers: lives as long as the core.
  const char* missing(std::string_view comparator) {
    return missing_.emplace(comparator).first->c_str();
  }
  /// The tree was dropped: its handles end, also one that its creation is still to make, and its
  /// name is free.
  void forget(std::string_view name, tree_id_t id);
  /// A creation holds one while it is under way.
  class creation {
   public:
    explicit creation(core& c) : core_(c) { ++core_.creations_; }
    creation(const creation&) = delete;
    ~creation() {
      if (--core_.creations_ == 0) core_.dropped_early_.clear();
    }

   private:
    core& core_;
  };

  sm::reactor loop;
  std::unique_ptr<io::device> dev;
  volume vol;
  std::unique_ptr<cache::page_cache> pages;
  std::unique_ptr<txn::engine> engine;
  std::unique_ptr<btree::context> ctx;
  std::unique_ptr<btree::tree> catalogue;
  core_options options;
  std::string name;
  std::string recovery;  ///< what recovery did; empty if nothing
  u64 callbacks_failed = 0;
  bool closed = false;

  explicit core(sm::environment& env) : loop(env) {}

 private:
  attempt<void> bring_up();
  /// Gives back what was dropped, or cut off a tree, and not freed before the store went down.
  attempt<void> finish_drops();
  attempt<void> finish_drop(const std::string& key, const btree::tree_record& record);
  void count_cuts();
  attempt<bool> next_record(std::string& from, std::string& key, btree::tree_record& record);

  std::map<std::string, std::weak_ptr<open_tree>, std::less<>> trees_;
  std::set<tree_id_t> dropped_early_;  ///< dropped while creations were under way
  u32 creations_ = 0;
  std::unique_ptr<std::byte[]> scratch_;
  std::set<std::string, std::less<>> missing_;
};

}  // namespace pleach::store_layer
