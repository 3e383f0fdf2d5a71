// Outcomes of operations. One x-macro is the only list of codes: name, class, number, sentence.
//
// Callers test the *class* (`not_found`, `no_space`, ...). A code is a u32, class << 16 | number,
// so it travels through the C ABI and through on-disk records unchanged. Numbers are never reused.
// Restarts inside the engine are not errors and have no code here.
#pragma once

#include <expected>

#include "be/base/types.hh"

namespace pleach {

/// The classes. Persistent: written in logs of operators and in the C ABI.
enum class error_class : u16 {
  ok = 0,
  not_found = 1,
  exists = 2,
  invalid = 3,
  no_space = 4,
  no_credit = 5,
  busy = 6,
  conflict = 7,
  cancelled = 8,
  corrupt = 9,
  io = 10,
  unsupported = 11,
  read_only = 12,
  too_large = 13,
  no_memory = 14,
  failed = 15,
};

// X(name, class, number, sentence)
#define PLEACH_ERROR_CODES(X)                                                                 \
  X(ok, ok, 0, "done")                                                                        \
  X(not_found, not_found, 1, "the key is not there")                                          \
  X(unknown_tree, not_found, 2, "unknown tree")                                               \
  X(no_file, not_found, 3, "no such file")                                                    \
  X(exists, exists, 1, "the key is there already")                                            \
  X(tree_exists, exists, 2, "the tree exists already")                                        \
  X(file_exists, exists, 3, "the file exists already")                                        \
  X(not_empty, exists, 8, "the tree is not empty")                                            \
  X(invalid, invalid, 1, "the call is not allowed here")                                      \
  X(bad_argument, invalid, 2, "an argument is out of range")                                  \
  X(not_a_store, invalid, 3, "not a Pleach store")                                            \
  X(too_small, invalid, 4, "too small")                                                       \
  X(wrong_thread, invalid, 5, "called from another thread than the one that polls")           \
  X(forked, invalid, 6, "called in a forked child of the process that opened the store")      \
  X(callback_failed, invalid, 7, "the caller's callback failed")                              \
  X(tree_closed, invalid, 8, "the tree handle is closed or its tree is destroyed")            \
  X(wrong_key_length, invalid, 9, "the tree's keys have another, fixed length")               \
  X(wrong_value_length, invalid, 10, "the tree's values have another, fixed length")          \
  X(impossible_lengths, invalid, 11, "fixed lengths too large for the tree's nodes")          \
  X(impossible_order, invalid, 12, "integers are keys of one length of 1 to 16 bytes")        \
  X(empty_key, invalid, 13, "a tree with a comparator takes no empty key")                    \
  X(not_ascending, invalid, 20, "the keys are not in strictly ascending order")               \
  X(flags_impossible, invalid, 14, "records of the tree have fixed lengths and no flags")     \
  X(no_space, no_space, 1, "no space left in the store")                                      \
  X(device_full, no_space, 2, "no space left on the device below the store")                  \
  X(no_credit, no_credit, 1, "the log has no room for this transaction")                      \
  X(busy, busy, 1, "in use")                                                                  \
  X(already_open, busy, 2, "already open")                                                    \
  X(mounted, busy, 3, "the device is mounted or holds another signature")                     \
  X(checking, busy, 4, "the store is being checked")                                          \
  X(conflict, conflict, 1, "another transaction changed what this one read")                  \
  X(cancelled, cancelled, 1, "cancelled")                                                     \
  X(timed_out, cancelled, 2, "the deadline passed")                                           \
  X(closing, cancelled, 3, "the store is closing")                                            \
  X(corrupt, corrupt, 1, "corrupt page")                                                      \
  X(corrupt_log, corrupt, 2, "corrupt log")                                                   \
  X(corrupt_superblock, corrupt, 3, "corrupt superblock")                                     \
  X(truncated, corrupt, 4, "truncated")                                                       \
  X(bad_record, corrupt, 5, "a record breaks the rules of its format")                        \
  X(io, io, 1, "the device reported an error")                                                \
  X(device_gone, io, 2, "the device is gone")                                                 \
  X(unsupported, unsupported, 1, "not supported by this build or device")                     \
  X(newer_format, unsupported, 2, "the store uses a feature that this program does not know") \
  X(unknown_comparator, unsupported, 3, "the comparator of the tree is not registered")       \
  X(not_in_bulk, unsupported, 4, "keys over 1 KiB are not loaded in bulk")                    \
  X(not_counted, unsupported, 5, "the tree was made without the option that this needs")      \
  X(read_only, read_only, 1, "read-only")                                                     \
  X(too_large, too_large, 1, "too large")                                                     \
  X(key_too_large, too_large, 2, "the key is too large")                                      \
  X(value_too_large, too_large, 3, "the value is too large")                                  \
  X(no_memory, no_memory, 1, "the memory budget is too small for this")                       \
  X(failed, failed, 1, "the store failed earlier and must be reopened")                       \
  X(outcome_unknown, failed, 2, "the store failed before this commit was acknowledged")

enum class errc : u32 {
#define PLEACH_X(name, klass, number, sentence) \
  name = static_cast<u32>(error_class::klass) << 16 | (number),
  PLEACH_ERROR_CODES(PLEACH_X)
#undef PLEACH_X
};

constexpr error_class class_of(errc e) {
  return static_cast<error_class>(static_cast<u32>(e) >> 16);
}
constexpr bool is_ok(errc e) {
  return e == errc::ok;
}

/// RETURNS: the identifier of `e` ("not_found"), or "unknown"; static storage.
const char* name_of(errc e);
/// RETURNS: the sentence of `e`; static storage.
const char* sentence_of(errc e);

/// Maps a negative errno of the kernel (or 0) to a code. -ENOSPC/-EDQUOT is `device_full`,
/// -ENODEV/-ENXIO `device_gone`, -EROFS `read_only`; everything else is `io`.
errc from_errno(int negative_errno);

/// `[[nodiscard]]` value-or-code of everything that can fail without a page address to name.
template <class T>
using result = std::expected<T, errc>;
using status = std::expected<void, errc>;
inline std::unexpected<errc> fail(errc e) {
  return std::unexpected<errc>(e);
}

}  // namespace pleach
