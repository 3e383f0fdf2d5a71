// Repairs a store that is damaged, and puts back what a repair has changed.
//
// Blocking; the store must not be open. What a repair does, and in which order: doc/repair.md.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <string>

#include "pleach/pleach.hh"

namespace pleach {

/// Something that was wrong, and what was done.
struct repair_step {
  std::string
      where;  ///< "superblock 2", "page 1234+4 of tree packages, keys from "a" to below "c""
  std::string what;
  std::string done;  ///< empty: left as it is
};

struct repair_options {
  /// Only what loses nothing and rests on no guess: superblock copies, the log, counts, space.
  bool safe_only = false;
  /// A log that is damaged behind its beginning is given up; what is home stays.
  bool salvage = false;
  /// What is overwritten goes here first; must not be there. Empty: nowhere.
  std::string undo_file{};
  device_kind device = device_kind::automatic;
  std::uint64_t cache_bytes = 256ull << 20;  ///< for entering what was found
  std::function<void(const repair_step&)> tell{};
  /// Steps done, of those there are (0: not known); false stops, at a place from which another
  /// repair goes on.
  std::function<bool(std::uint64_t done, std::uint64_t total)> progress{};
};

struct repair_report {
  std::uint64_t repaired = 0;        ///< problems
  std::uint64_t left = 0;            ///< problems that could not, or were not to, be repaired
  std::uint64_t lost_and_found = 0;  ///< records that are in the tree "lost+found" now
  std::uint64_t given_up = 0;        ///< records of which only the key is known
  std::uint64_t trees = 0, pages = 0, pages_written = 0;
  std::string recovery;  ///< what was done with the log; empty: it was closed cleanly
};

/// Records that could not go back to their tree for certain stand here. Key: name of the tree, a
/// zero byte, the key there; behind it a zero byte and the page's block where two would be alike.
inline constexpr std::string_view lost_and_found_tree = "lost+found";

/// ERRORS: those of store::open but for damage that it repairs; exists (the undo file); cancelled;
/// io (nothing more could be written). After an error it can be called again.
std::expected<repair_report, error> repair_store(const std::string& path,
                                                 const repair_options& options);

/// Was the store closed, and are all copies of its superblock sound? Nothing else is read.
std::expected<bool, error> is_clean(const std::string& path, device_kind device);

struct undo_report {
  std::uint64_t blocks = 0;  ///< of 4 KiB, put back
};
/// Puts back what stood where a repair has written, bytes and length.
/// ERRORS: invalid (no undo file), corrupt (it is damaged), conflict (of another store, or the
/// store was written since: nothing was changed), io.
std::expected<undo_report, error> undo_repair(const std::string& undo_file, const std::string& path,
                                              device_kind device = device_kind::automatic);

}  // namespace pleach
