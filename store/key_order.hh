// Keys of trees of integers on their way in and out: the one place that turns them.
//
// The caller's keys are integers as his machine keeps them (little-endian, two's complement where
// signed); the engine's are the same bytes from the highest to the lowest, with the sign bit turned
// over, so that it compares bytes and knows nothing of numbers. All other trees keep the caller's
// bytes.
//
// I1 An empty key is no integer. As a bound it stays empty: below all keys, or no bound.
// I2 Nothing here allocates: what is turned stands in the operation.
#pragma once

#include <algorithm>

#include "btree/tree.hh"

namespace pleach::internal {

inline bool has_integers(const btree::tree& t) {
  return t.order_number == btree::ORDER_UNSIGNED || t.order_number == btree::ORDER_SIGNED;
}

/// The caller's integer as the engine keeps it.
/// REQUIRES: has_integers(t); `from` and `to` are t.key_bytes long and do not overlap.
inline void turn_in(const btree::tree& t, const void* from, std::byte* to) {
  const auto* raw = static_cast<const std::byte*>(from);
  std::reverse_copy(raw, raw + t.key_bytes, to);
  if (t.order_number == btree::ORDER_SIGNED) to[0] ^= std::byte{0x80};
}
/// The engine's key as the caller gave it, in place.
/// REQUIRES: as turn_in.
inline void turn_out(const btree::tree& t, char* key) {
  if (t.order_number == btree::ORDER_SIGNED) key[0] = static_cast<char>(key[0] ^ 0x80);
  std::reverse(key, key + t.key_bytes);
}
/// A key that a read has found, for the caller.
inline void turn_found(const btree::tree& t, std::string* key) {
  if (key != nullptr && has_integers(t) && key->size() == t.key_bytes) turn_out(t, key->data());
}

/// May an operation be given this key? Other trees look at lengths when they write.
/// `bound`: an empty key is a bound.
inline bool fits(const btree::tree& t, std::string_view key, bool bound) {
  return !has_integers(t) || key.size() == t.key_bytes || (bound && key.empty());
}

/// A key that an operation was given, as the engine wants it; lives where the operation does.
class given_key {
 public:
  given_key() = default;
  given_key(const given_key&) = delete;
  given_key& operator=(const given_key&) = delete;

  /// REQUIRES: fits(t, key, true). `key` stays the caller's.
  void set(const btree::tree& t, std::string_view key) {
    key_ = as_bytes(key);
    if (!has_integers(t) || key.empty()) return;
    turn_in(t, key.data(), turned_);
    key_ = {turned_, key.size()};
  }
  cbytes bytes() const { return key_; }

 private:
  cbytes key_;
  std::byte turned_[btree::max_integer_bytes];
};

}  // namespace pleach::internal
