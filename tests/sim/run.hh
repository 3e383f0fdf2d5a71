// One seed: format, cycles of {open, operations in flight with crash images taken, close or crash},
// the last state checked.
//
// I1 Nothing here asks a clock or an address: same seed, same trace hash.
#pragma once

#include <algorithm>
#include <set>

#include "tests/sim/history.hh"
#include "tests/sim/image_check.hh"
#include "tests/sim/slot.hh"

namespace pleach::sim {

/// Longer keys do not stand in their nodes; some trees take none.
inline constexpr u32 inline_key_bytes = 1024, longest_key_bytes = 1 << 20;

struct run_options {
  bool check_images = true;
  u64 stop_after = ~u64{0};  ///< operations
  u32 images_cap = ~0u;
};

class run {
 public:
  run(const config& c, const run_options& o, totals& t);
  ~run();
  /// RETURNS: the trace hash.
  u64 go();

 private:
  struct open_tree {
    std::unique_ptr<btree::tree> t;
    btree::tree_record record{};
    u32 users = 0;
    bool closing = false;
    bool loading = false;  ///< by a bulk load that has it for itself
  };

  // life
  void format(const forest* before);
  void open();
  void end_cycle();
  void adopt_trees();
  void drain(bool cancel);
  void capture_image(io::sim_device& d);
  io::sim_image doomed_image(image_job& job);
  void install_trouble();
  bool failing() const {
    return (trouble_ && config_.trouble != trouble_kind::HANG) ||
           core_->engine->health() != errc::ok;
  }

  // operations
  void step();
  void start_one();
  void start(slot& s);
  void start_write(slot& s);
  static btree::verdict decide(void* datum, bool present, std::string& value);
  void start_batch(slot& s);
  void append_more(slot& s);
  void patch_more(slot& s);
  void start_read(slot& s);
  void start_multi_get(slot& s);
  void start_count(slot& s);
  void draw_bound(slot& s);
  bool may_be_loaded(const std::string& tree);
  void start_bulk(slot& s);
  void add_more(slot& s);
  void start_upgrade(slot& s);
  void finish_upgrade(slot& s, sm::op& op, page_addr bad);
  static btree::verdict store_again(void* datum, cbytes key, std::string& value);
  bool flags_stated(const btree::tree& t) const;
  void check_flags(const slot& s) const;
  void start_sum(slot& s);
  bool start_range(slot& s);
  static void erased(void* datum, lsn_t lsn, cbytes low, const cbytes* high);
  void start_create(slot& s);
  void start_drop(slot& s, const std::string& name);
  void launch(slot& s, sm::op& op);
  static void done(sm::op& op, void* datum);
  void finished(slot& s);
  void finish_write(slot& s);
  void finish_append(slot& s);
  void finish_patch(slot& s);
  void finish_read(slot& s);
  void finish_multi_get(slot& s);
  void check_lookup(slot& s, const drawn_lookups::one& l);
  void finish_count(slot& s);
  void finish_added(slot& s);
  void finish_bulk(slot& s);
  void end_bulk(slot& s, bool applied);
  void finish_sum(slot& s);
  void finish_range(slot& s);
  void finish_create(slot& s);
  void finish_drop(slot& s);
  void check_read(slot& s, errc code);
  struct bounds {
    u64 least = 0, most = 0;
  };
  bounds possible_count(const slot& s, const std::string& from, const std::string* to);
  void check_select(slot& s, bool found);
  void check_sum(slot& s);
  void release(slot& s);
  bool excused(const slot& s, errc code) const;
  void refresh();
  void cancel_some();
  void grow_volume();
  void oracles();

  // draws
  std::string draw_key();
  std::string draw_of_stream();
  std::string long_key(u64 n) const;
  bool takes_long_keys(const std::string& tree) const;
  u32 longest_key(const std::string& tree) const;
  std::string sought_in(const std::string& tree, std::string key) const;
  std::string draw_edge(const std::string& tree);
  fixed_lengths lengths_of(const std::string& tree) const;
  /// `key` as the tree takes it.
  std::string shaped(const std::string& tree, std::string key) const;
  std::string draw_present_key(const std::string& tree);
  bool draw_erase();
  void check_copy(slot& s);
  value_t draw_value(const std::string& tree);
  open_tree* draw_tree(std::string& name);
  bool locked(const std::string& tree, const std::string& key) const {
    return locks_.contains({tree, key}) ||
           std::ranges::any_of(slots_, [&](auto& s) { return s->in_range(tree, key); });
  }
  slot* free_slot();
  u32 busy_slots() const;

  const config config_;
  run_options options_;
  totals& totals_;
  random_stream random_, image_random_, edit_random_, range_random_;
  io::sim_environment env_;
  model model_;
  history history_;
  image_checker checker_;
  io::sim_image image_;
  std::shared_ptr<store_layer::core> core_;
  io::sim_device* dev_ = nullptr;
  std::map<std::string, open_tree> trees_;
  std::set<std::pair<std::string, std::string>> locks_;
  std::vector<std::unique_ptr<slot>> slots_;
  u64 clock_ = 1;
  u64 issued_ = 0, in_cycle_ = 0;
  u64 trace_ = 0;
  u32 images_ = 0;
  std::string erased_;  ///< the key that was erased last: waves go on behind it
  u64 streams_[16] = {};
  u32 full_ = 0;        ///< no_space seen lately: delete more
  bool opening_ = false, dying_ = false, trouble_ = false;
  u64 rounds_ = 0;
};

}  // namespace pleach::sim
