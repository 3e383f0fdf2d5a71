// What a read may return while writers run: the versions of every key, and when each was certainly
// visible.
//
// I1 Once any reader saw one effect of a transaction, all its effects are visible to every read
//    that starts later (isolation).
#pragma once

#include <vector>

#include "tests/sim/model.hh"

namespace pleach::sim {

struct version {
  std::optional<value_t> value;
  u64 visible_by = 0;
  u64 transaction = ~u64{0};
};

class history {
 public:
  using tree_history = std::map<std::string, std::vector<version>, key_less>;

  void reset(const forest& f);
  void begin_write(const std::string& tree, const std::string& key, std::optional<value_t> v,
                   u64 transaction);
  void finish(const transaction& t, bool applied, u64 clock);
  void seen(const transaction& t, u64 clock);
  void add_tree(const std::string& tree) { in(tree); }
  void drop_tree(const std::string& tree) { trees_.erase(tree); }

  /// The newest version, in flight or not.
  /// RETURNS: null if the key never was.
  const version* newest(const std::string& tree, const std::string& key) const;
  /// RETURNS: the version that explains `found` for a read that started at `start`; null if none
  /// does.
  const version* explain(const std::string& tree, const std::string& key, u64 start,
                         const std::optional<std::string>& found) const;
  /// The same for bytes from `offset` on of a value of `total` bytes.
  const version* explain_range(const std::string& tree, const std::string& key, u64 start,
                               u64 offset, u64 total, const std::string& found) const;
  /// RETURNS: true if a read that started at `start` may have found no record of `key`.
  static bool may_be_absent(const std::vector<version>& v, u64 start);
  /// RETURNS: true if such a read may have found one.
  static bool may_be_present(const std::vector<version>& v, u64 start);
  /// RETURNS: what every read that started at `start` has found; null if there are several answers.
  static const version* only_possible(const std::vector<version>& v, u64 start);
  const tree_history& tree(const std::string& name) { return in(name); }
  bool has_tree(const std::string& name) const { return trees_.contains(name); }
  /// No read that runs started before `clock`.
  void prune(u64 clock) { oldest_ = clock; }

 private:
  tree_history& in(const std::string& tree) {
    return trees_.try_emplace(tree, order_of(tree)).first->second;
  }
  static std::size_t first_possible(const std::vector<version>& v, u64 start);
  std::map<std::string, tree_history> trees_;
  u64 oldest_ = 0;
};

}  // namespace pleach::sim
