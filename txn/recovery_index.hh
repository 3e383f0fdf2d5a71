// Where the log's records of each page stand: 16 bytes a record, in bounded memory.
//
// What it is not: it holds no record bytes; readers fetch those from the log.
//
// Position = (block relative to the window's first) << 12 | offset in its payload. Positions grow
// with LSNs, so "before the last FREE" is a comparison of positions (an address is never both
// changed and freed by records of one group).
//
// I1 After `seal` the entries of a page are those that still matter, in log order: none before its
//    last FREE, none before its last FORMAT.
#pragma once

#include <vector>

#include "be/base/error.hh"
#include "be/base/types.hh"

namespace pleach::txn {

struct index_entry {
  u64 addr;
  u32 position;
  u32 what;  ///< length of the body, and the two bits below

  static constexpr u32 free_bit = 1u << 31;
  static constexpr u32 format_bit = 1u << 30;
  u32 length() const { return what & ~(free_bit | format_bit); }
  bool is_free() const { return what & free_bit; }
  bool is_format() const { return what & format_bit; }
  u32 block() const { return position >> 12; }
  u32 offset() const { return position & 4095; }
};

class recovery_index {
 public:
  /// `most_bytes` is reserved at once: address space until it is used.
  explicit recovery_index(u64 most_bytes) : most_(most_bytes / sizeof(index_entry)) {
    entries_.reserve(most_);
  }

  /// Entries of a group whose end has not been seen yet; `commit` keeps them, `drop` forgets them.
  /// RETURNS: false: full.
  bool add(const index_entry& e) {
    if (entries_.size() == most_) return false;
    entries_.push_back(e);
    return true;
  }
  void commit() { committed_ = entries_.size(); }
  void drop() { entries_.resize(committed_); }
  /// I1.
  void seal();

  std::span<const index_entry> entries() const { return entries_; }
  /// RETURNS: the entries of the page, empty if the log does not touch it.
  /// REQUIRES: sealed.
  std::span<const index_entry> of(page_addr addr) const;
  u64 bytes() const { return entries_.size() * sizeof(index_entry); }

 private:
  u64 most_;
  u64 committed_ = 0;
  std::vector<index_entry> entries_;
};

}  // namespace pleach::txn
