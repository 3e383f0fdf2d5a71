// What mkfs asks before it overwrites a block device: is it mounted, does it hold anything? And the
// folder that a file's name stands in.
#pragma once

#include <string>

#include "be/base/error.hh"

namespace pleach::io {

/// RETURNS: true if the block device at `path` is mounted in this mount namespace
/// (/proc/self/mountinfo); false for anything that is no block device. A device claimed otherwise
/// (swap, md, dm) shows in open_device only.
bool is_mounted(const std::string& path);

/// RETURNS: true if any byte of the first 128 KiB or the last 64 KiB is not zero: some data or the
/// signature of a file system, partition table, volume or RAID member stands there. Blocks.
/// ERRORS: no_file, read_only (no right to read), io.
result<bool> holds_data(const std::string& path);

/// RETURNS: true if `path` names a block device.
bool is_block_device(const std::string& path);

/// Makes the name `path` durable: a file that was made there, or renamed to it. `must`: a folder
/// that cannot be opened is an error. RETURNS: 0 or -errno.
int sync_folder_of(const std::string& path, bool must);

}  // namespace pleach::io
