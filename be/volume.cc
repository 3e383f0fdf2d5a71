#include "be/volume.hh"

#include <algorithm>

#include "be/base/checksum.hh"
#include "be/block_buffer.hh"

namespace pleach {

namespace {

/// One request at a time, waited for in place.
struct blocking_request {
  io::request r;
  bool finished = false;

  static bool unfinished(void* self) { return !static_cast<blocking_request*>(self)->finished; }

  status run(sm::reactor& loop, io::device& dev) {
    // An empty round first: whatever forbids rounds here is found before the request is in flight.
    if (result<u32> round = loop.poll(); !round) return fail(round.error());
    r.owner = this;
    r.done = [](io::request& q) { static_cast<blocking_request*>(q.owner)->finished = true; };
    dev.queue(r);
    status s = loop.run_while(&unfinished, this);
    PLEACH_ASSERT(s && finished);  // else the device would write into a dead stack frame
    if (r.code != errc::ok) return fail(r.code);
    return {};
  }
};

status transfer(sm::reactor& loop, io::device& dev, io::request_kind kind, u64 block,
                std::byte* data, u64 length, bool durable) {
  PLEACH_ASSERT(length % block_bytes == 0);
  u64 unit = std::max<u64>(dev.limit().max_transfer / block_bytes * block_bytes, block_bytes);
  for (u64 at = 0; at < length; at += unit) {
    blocking_request one;
    one.r.kind = kind;
    one.r.durable = durable;
    one.r.offset = (block << block_shift) + at;
    one.r.length = std::min(unit, length - at);
    one.r.data = data + at;
    if (status s = one.run(loop, dev); !s) return s;
  }
  return {};
}

}  // namespace

status read_blocks(sm::reactor& loop, io::device& dev, u64 block, bytes out) {
  return transfer(loop, dev, io::request_kind::READ, block, out.data(), out.size(), false);
}

status write_blocks(sm::reactor& loop, io::device& dev, u64 block, cbytes data, bool durable) {
  return transfer(loop, dev, io::request_kind::WRITE, block, const_cast<std::byte*>(data.data()),
                  data.size(), durable);
}

status flush_device(sm::reactor& loop, io::device& dev) {
  blocking_request one;
  one.r.kind = io::request_kind::FLUSH;
  return one.run(loop, dev);
}

result<volume> read_volume(sm::reactor& loop, io::device& dev) {
  if (result<u32> round = loop.poll(); !round) return fail(round.error());
  block_buffer buffer(superblock_copies * u64{block_bytes});
  std::array<const superblock*, superblock_copies> copies{};
  std::array<copy_state, superblock_copies> states{};
  for (u32 i = 0; i < superblock_copies; ++i) {
    u64 at = i * u64{block_bytes};
    copies[i] = &buffer.as<superblock>(at);
    states[i] = copy_state::NO_MAGIC;
    if ((superblock_block(i) + 1) * block_bytes > dev.size()) continue;  // reads as nothing
    status s = read_blocks(loop, dev, superblock_block(i), buffer.part(at, block_bytes));
    if (!s && s.error() == errc::device_gone) return fail(s.error());
    if (!s) states[i] = copy_state::UNREADABLE;
  }
  result<superblock_choice> c = choose(copies, states);
  if (!c) return fail(c.error());

  volume v;
  v.super = *copies[c->best];
  v.copy_states = c->states;
  for (u32 i = 0; i < superblock_copies; ++i)
    v.copy_good[i] = c->states[i] == copy_state::GOOD || c->states[i] == copy_state::STALE;
  v.upgraded_read_only = (v.super.ro_compat & ~feature_ro_compat_known) != 0;
  if (v.super.blocks > dev.size() / block_bytes) return fail(errc::truncated);
  return v;
}

std::string feature_names(u64 incompat) {
  // Numbers are given out before a program supports what they stand for: it can say what it lacks.
  static constexpr const char* names[] = {
      "fixed lengths",  "value maps", "cut branches",  "aggregates",
      "leaf version 2", "key orders", "record extras", "long keys",
  };
  std::string words;
  for (u32 bit = 0; bit < 64; ++bit) {
    if ((incompat >> bit & 1) == 0) continue;
    if (!words.empty()) words += ", ";
    words += bit < std::size(names) ? names[bit] : "bit " + std::to_string(bit);
  }
  return words;
}

std::string unknown_features(sm::reactor& loop, io::device& dev) {
  block_buffer buffer(block_bytes);
  const superblock& s = buffer.as<superblock>();
  std::string words;
  u64 newest = 0;
  for (u32 i = 0; i < superblock_copies; ++i) {
    if ((superblock_block(i) + 1) * block_bytes > dev.size()) break;
    if (!read_blocks(loop, dev, superblock_block(i), buffer.all())) continue;
    if (check_copy(s, i) != copy_state::NEWER || s.generation <= newest) continue;
    newest = s.generation;
    const u64 unknown = s.incompat & ~feature_incompat_known;
    char text[64];
    if (unknown != 0)
      std::snprintf(text, sizeof text, "incompatible feature bits 0x%llx",
                    static_cast<unsigned long long>(unknown));
    else
      std::snprintf(text, sizeof text, "format version %u", u32{s.version});
    words = text;
    if (unknown != 0) words += " (" + feature_names(unknown) + ")";
  }
  return words;
}

status write_superblocks(sm::reactor& loop, io::device& dev, volume& v) {
  // First of all, so that a second try after a failure is newer than what the first one left.
  v.super.generation = v.super.generation + 1;
  block_buffer buffer(block_bytes);
  for (u32 i = 0; i < superblock_copies; ++i) {
    seal(v.super, i);
    buffer.as<superblock>() = v.super;
    if (status s = write_blocks(loop, dev, superblock_block(i), buffer.all(), false); !s) return s;
    if (status s = flush_device(loop, dev); !s) return s;
    v.copy_good[i] = true;
    v.copy_states[i] = copy_state::GOOD;
  }
  return {};
}

u64 log_blocks(const superblock& s) {
  u64 total = 0;
  for (const log_segment& l : s.log) total += l.blocks;
  return total;
}

u64 log_position(const superblock& s, u64 index) {
  for (const log_segment& l : s.log) {
    if (index < l.blocks) return l.start + index;
    index -= l.blocks;
  }
  PLEACH_ASSERT(!"index lies in the log");
  return 0;
}

u64 log_contiguous(const superblock& s, u64 index) {
  for (const log_segment& l : s.log) {
    if (index < l.blocks) return l.blocks - index;
    index -= l.blocks;
  }
  PLEACH_ASSERT(!"index lies in the log");
  return 0;
}

u64 new_salt(sm::environment& env, const superblock& s) {
  // An environment may give the same seed twice (a simulation does), so the history is mixed in.
  u64 salt = mix64(env.seed() ^ mix64(load_le<u64>(s.uuid) ^ mix64(s.salt ^ mix64(s.generation))));
  while (salt == 0 || salt == s.salt) salt = mix64(salt + 0x9e3779b97f4a7c15u);
  return salt;
}

}  // namespace pleach
