// What the store must hold: ordered maps per tree, and the transactions that made them.
//
// What it is not: it asks the store nothing. Values are not kept but made anew from a seed, so that
// a model is cheap to copy.
//
// I1 A durable state is `base` plus every transaction with 0 < lsn <= L, in order of (lsn, begun).
//    Writers of one key never overlap, so the order of beginning is the order of their effects.
// I2 `acked` never exceeds the LSN of what a crash may lose.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "be/base/types.hh"

namespace pleach::sim {

/// Stands for `length` bytes made from `seed`.
struct value_t {
  u64 seed = 0;
  u32 length = 0;
  friend bool operator==(const value_t&, const value_t&) = default;
};
std::string make_value(value_t v);
bool same_value(const std::string& bytes, value_t v);

/// The order of a tree's keys: bytes, or from the other end; the empty key first either way.
struct key_less {
  bool reversed = false;
  bool operator()(const std::string& a, const std::string& b) const {
    if (a.empty() || b.empty() || !reversed) return a < b;
    return b < a;
  }
};
/// The comparator of reversed trees, as the store has it registered.
inline constexpr const char* reverse_name = "reverse";
int compare_reversed(std::string_view a, std::string_view b, void*);
/// Of the run: bit n: trees whose name ends with a digit of n modulo 8 are reversed.
void set_reversed(u32 trees);
key_less order_of(const std::string& tree);

using content = std::map<std::string, value_t, key_less>;
using forest = std::map<std::string, content>;
/// RETURNS: the content of the tree, made if it is not there.
inline content& content_in(forest& f, const std::string& tree) {
  return f.try_emplace(tree, order_of(tree)).first->second;
}

struct effect {
  enum what : u8 { SET, ERASE, CREATE, DROP };
  what kind;
  std::string tree, key;
  value_t value;
};

struct transaction {
  std::vector<effect> effects;
  lsn_t lsn = lsn_none;      ///< none: not applied (so far)
  u64 visible_by = ~u64{0};  ///< harness clock when its effects were certainly visible
  u64 number = 0;
};

class model {
 public:
  /// The state after all groups up to `lsn`.
  forest state_at(lsn_t lsn) const;
  /// A recovery came back to `lsn`: what is beyond never happened.
  void roll_back_to(lsn_t lsn);
  /// The first transactions that every possible crash contains become part of the base.
  void settle(lsn_t lsn);
  transaction& begin();
  transaction& at(u64 number);

  lsn_t acked = lsn_none;
  /// Older states are forgotten.
  lsn_t oldest() const { return oldest_; }

 private:
  void apply(forest& to, lsn_t upto) const;
  forest base_;
  std::map<u64, transaction> transactions_;
  u64 next_ = 0;
  lsn_t oldest_ = lsn_none;
};

/// RETURNS: empty if equal, else the first difference in words.
std::string difference(const forest& expected, const forest& found);

std::string printable(const std::string& key);

}  // namespace pleach::sim
