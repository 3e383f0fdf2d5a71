#include "repair/undo_file.hh"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <set>

#include "be/base/checksum.hh"
#include "be/block_buffer.hh"
#include "be/io/inspect.hh"
#include "be/volume.hh"

namespace pleach::repair {

namespace {

constexpr u64 most_at_once = 16u << 20;  ///< bytes of one entry: no request is longer

errc meaning_of(int error) {
  if (error == EEXIST) return errc::file_exists;
  if (error == ENOENT) return errc::no_file;
  return error == ENOSPC || error == EDQUOT ? errc::device_full : errc::io;
}

u64 sum_of(undo_header h) {
  h.checksum = 0;
  return hash64({reinterpret_cast<const std::byte*>(&h), sizeof h});
}
u64 sum_of(undo_entry e, u64 at) {
  e.checksum = 0;
  return hash64({reinterpret_cast<const std::byte*>(&e), sizeof e}, at);
}

/// An entry and where its bytes stand in the undo file.
struct placed_entry {
  u64 offset, length, old_sum, new_sum, at;
};

class reader {
 public:
  explicit reader(const std::string& path)
      : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), error_(fd_ < 0 ? errno : 0) {}
  reader(const reader&) = delete;
  ~reader() {
    if (fd_ >= 0) ::close(fd_);
  }

  /// Reads and checks everything but that the store fits.
  status load(std::string& why) {
    if (fd_ < 0) return fail(meaning_of(error_));
    if (!read(0, &header_, sizeof header_) || header_.magic != undo_magic) {
      why = "it is no undo file";
      return fail(errc::not_a_store);
    }
    if (header_.version != undo_version || header_.checksum != sum_of(header_)) {
      why = "its header is damaged, or of a newer version";
      return fail(errc::corrupt);
    }
    struct stat st = {};
    if (fstat(fd_, &st) != 0) return fail(errc::io);
    u64 size = static_cast<u64>(st.st_size);
    const bool sealed = is_sealed(size);
    if (sealed) size -= sizeof(undo_entry);
    for (u64 at = sizeof header_; at < size;) {
      undo_entry e;
      if (!read(at, &e, sizeof e) || e.magic != undo_entry_magic || e.checksum != sum_of(e, at) ||
          e.length > most_at_once || e.length > size - at - sizeof e || !possible(e))
        return ends(sealed, why);
      const placed_entry p{e.offset, e.length, e.old_sum, e.new_sum, at + sizeof e};
      std::vector<std::byte> old(p.length);
      if (!read(p.at, old.data(), old.size()) || hash64({old.data(), old.size()}) != p.old_sum)
        return ends(sealed, why);
      entries_.push_back(p);
      at = p.at + p.length;
    }
    return {};
  }

  bool read(u64 at, void* to, u64 length) const {
    for (u64 done = 0; done < length;) {
      const ssize_t n =
          pread(fd_, static_cast<char*>(to) + done, length - done, static_cast<off_t>(at + done));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      done += static_cast<u64>(n);
    }
    return true;
  }
  const undo_header& header() const { return header_; }
  const std::vector<placed_entry>& entries() const { return entries_; }

 private:
  bool possible(const undo_entry& e) const {
    return e.length != 0 && (e.offset | e.length) % block_bytes == 0 &&
           e.offset <= header_.store_bytes && e.length <= header_.store_bytes - e.offset;
  }
  bool is_sealed(u64 size) const {
    undo_entry e;
    const u64 at = size - sizeof e;
    return size >= sizeof header_ + sizeof e && read(at, &e, sizeof e) &&
           e.magic == undo_seal_magic && e.checksum == sum_of(e, at);
  }
  /// An entry is not whole. That of a repair that was cut short never led to a write (I1).
  static status ends(bool sealed, std::string& why) {
    if (!sealed) return {};
    why = "it is damaged";
    return fail(errc::corrupt);
  }

  int fd_;
  int error_;
  undo_header header_{};
  std::vector<placed_entry> entries_;
};

/// Is each superblock copy as it was before or after some write of the repair (I2)?
result<bool> untouched_since(const reader& undo, sm::reactor& loop, io::device& dev) {
  block_buffer room(block_bytes);
  for (u32 copy = 0; copy < superblock_copies; ++copy) {
    const u64 at = superblock_block(copy) * block_bytes;
    if (at + block_bytes > dev.size()) continue;
    std::set<u64> known;
    for (const placed_entry& e : undo.entries())
      if (e.offset == at && e.length == block_bytes) known.insert({e.old_sum, e.new_sum});
    if (known.empty()) continue;
    if (status s = read_blocks(loop, dev, superblock_block(copy), room.all()); !s)
      return fail(s.error());
    if (!known.contains(hash64(room.all()))) return false;
  }
  return true;
}

bool same_store(const undo_header& h, sm::reactor& loop, io::device& dev) {
  const u8 none[16] = {};
  if (std::memcmp(h.uuid, none, sizeof none) == 0) return true;
  result<volume> v = read_volume(loop, dev);
  return !v || std::memcmp(v->super.uuid, h.uuid, sizeof h.uuid) == 0;
}

}  // namespace

undo_writer::~undo_writer() {
  if (fd_ >= 0) ::close(fd_);
}

status undo_writer::create(const std::string& path, const u8 (&uuid)[16], u64 store_bytes) {
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd_ < 0) return fail(meaning_of(errno));
  undo_header h{};
  h.magic = undo_magic;
  h.version = undo_version;
  std::memcpy(h.uuid, uuid, sizeof uuid);
  h.store_bytes = store_bytes;
  h.checksum = sum_of(h);
  if (status s = append(&h, sizeof h); !s) return s;
  if (status s = sync(); !s) return s;
  // The name, too: without it nobody finds what was saved.
  return io::sync_folder_of(path, true) == 0 ? status{} : fail(errc::io);
}

status undo_writer::append(const void* data, u64 length) {
  for (u64 done = 0; done < length;) {
    const ssize_t n = pwrite(fd_, static_cast<const char*>(data) + done, length - done,
                             static_cast<off_t>(end_ + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail(meaning_of(errno));
    done += static_cast<u64>(n);
  }
  end_ += length;
  dirty_ = true;
  return {};
}

status undo_writer::add(u64 offset, cbytes old_bytes, cbytes new_bytes) {
  undo_entry e{};
  e.magic = undo_entry_magic;
  e.offset = offset;
  e.length = old_bytes.size();
  e.old_sum = hash64(old_bytes);
  e.new_sum = hash64(new_bytes);
  e.checksum = sum_of(e, end_);
  if (status s = append(&e, sizeof e); !s) return s;
  return append(old_bytes.data(), old_bytes.size());
}

status undo_writer::sync() {
  if (!dirty_) return {};
  if (fdatasync(fd_) != 0) return fail(meaning_of(errno));
  dirty_ = false;
  return {};
}

status undo_writer::seal() {
  undo_entry e{};
  e.magic = undo_seal_magic;
  e.checksum = sum_of(e, end_);
  if (status s = append(&e, sizeof e); !s) return s;
  return sync();
}

result<undo_result> apply_undo(const std::string& undo_path, sm::reactor& loop, io::device& dev,
                               std::string& why) {
  reader undo(undo_path);
  if (status s = undo.load(why); !s) return fail(s.error());
  if (!same_store(undo.header(), loop, dev)) {
    why = "it is of another store";
    return fail(errc::conflict);
  }
  if (dev.size() != undo.header().store_bytes) {
    why = "the store has another length now";
    return fail(errc::conflict);
  }
  result<bool> untouched = untouched_since(undo, loop, dev);
  if (!untouched) return fail(untouched.error());
  if (!*untouched) {
    why = "the store was written since";
    return fail(errc::conflict);
  }
  undo_result done;
  for (std::size_t i = undo.entries().size(); i-- != 0;) {
    const placed_entry& e = undo.entries()[i];
    block_buffer old(e.length);
    if (!undo.read(e.at, old.data(), e.length)) return fail(errc::io);
    // What is put back last are the superblocks, which the repair wrote first: until then they show
    // that this undo file fits.
    if (status s = write_blocks(loop, dev, e.offset / block_bytes, old.all(), false); !s)
      return fail(s.error());
    ++done.entries;
    done.bytes += e.length;
  }
  if (status s = flush_device(loop, dev); !s) return fail(s.error());
  return done;
}

}  // namespace pleach::repair
