#include "txn/recovery_scan.hh"

#include <algorithm>

#include "be/base/assert.hh"
#include "be/base/planted.hh"
#include "txn/record_codec.hh"

namespace pleach::txn {

namespace {

/// Cuts the payload stream of one group into records.
class record_parser {
 public:
  record_parser(const superblock& super, recovery_index& index) : super_(super), index_(index) {}

  void begin() { have_ = 0, skip_ = 0; }
  bool at_record() const { return have_ == 0 && skip_ == 0; }
  u64 records = 0;
  const char* problem = nullptr;

  /// ERRORS: bad_record, no_memory.
  status feed(cbytes payload, u32 block) {
    u64 at = 0;
    while (at < payload.size()) {
      if (skip_ != 0) {
        u64 n = std::min<u64>(skip_, payload.size() - at);
        skip_ -= n;
        at += n;
        continue;
      }
      if (have_ == 0) {
        entry_.position = block << 12 | static_cast<u32>(at);
        need_ = sizeof(record_header);
      }
      u64 n = std::min<u64>(need_ - have_, payload.size() - at);
      std::memcpy(head_ + have_, payload.data() + at, n);
      have_ += static_cast<u32>(n);
      at += n;
      if (have_ < need_) continue;
      if (status s = need_ == sizeof(record_header) ? header() : body(); !s) return s;
    }
    return {};
  }

 private:
  status bad(const char* what) {
    problem = what;
    return fail(errc::bad_record);
  }
  const record_header& head() const { return *reinterpret_cast<const record_header*>(head_); }

  status header() {
    auto type = static_cast<record_type>(head().type);
    u32 length = head().length;
    if (type == record_type::page) {
      if (length < sizeof(page_body)) return bad("a PAGE record is too short");
      need_ += sizeof(page_body);
    } else if (type == record_type::free) {
      if (length != sizeof(free_body)) return bad("a FREE record has the wrong length");
      need_ += sizeof(free_body);
    } else {
      if (head().type == 0 || (head().flags & RECORD_MUST_UNDERSTAND))
        return bad("a record of unknown type");
      have_ = 0;
      skip_ = length;
    }
    return {};
  }

  status body() {
    const std::byte* b = head_ + sizeof(record_header);
    bool page = static_cast<record_type>(head().type) == record_type::page;
    page_addr addr(u64{reinterpret_cast<const page_body*>(b)->addr});  // both bodies begin with it
    if (addr.block() == 0 || addr.block() + addr.blocks() > super_.blocks)
      return bad("a record of a page outside of the volume");
    if (page && overlaps_fixed(addr))
      return bad("a record of a page inside the log or a superblock");
    u32 length = head().length;
    if (page && length > max_page_body(addr.size()))
      return bad("a PAGE record longer than its page allows");
    entry_.addr = addr.raw;
    entry_.what = page ? length : index_entry::free_bit;
    if (page && (head().flags & RECORD_FORMAT)) entry_.what |= index_entry::format_bit;
    ++records;
    if (!index_.add(entry_)) return fail(errc::no_memory);
    skip_ = length - (need_ - sizeof(record_header));
    have_ = 0;
    return {};
  }

  bool overlaps_fixed(page_addr a) const {
    auto hits = [&](u64 start, u64 blocks) {
      return a.block() < start + blocks && start < a.block() + a.blocks();
    };
    for (const log_segment& s : super_.log)
      if (hits(s.start, s.blocks)) return true;
    for (u32 i = 0; i < superblock_copies; ++i)
      if (hits(superblock_block(i), 1)) return true;
    return false;
  }

  const superblock& super_;
  recovery_index& index_;
  index_entry entry_{};
  std::byte head_[sizeof(record_header) + sizeof(page_body)];
  u32 have_ = 0, need_ = sizeof(record_header);
  u64 skip_ = 0;
};

struct log_head {
  bool found = false;
  u64 seq = 0, log_start = 0, group = 0, durable_upto = 0;
  u32 index = 0;
  u16 flags = 0;
};

/// Step 1: every block of the log, in order of position.
status find_head(const log_area& area, const superblock& super, block_source& source,
                 log_head& head) {
  constexpr u64 chunk = 64;
  block_buffer memory(chunk * block_bytes);
  u64 store_id = load_le<u64>(super.uuid);
  for (u64 at = 0; at < area.blocks();) {
    u64 n = std::min({chunk, area.contiguous(at), area.blocks() - at});
    if (status s = source.read(area.position(at), memory.part(0, n << block_shift)); !s) return s;
    for (u64 i = 0; i < n; ++i) {
      const std::byte* b = memory.data() + (i << block_shift);
      const log_block_header& h = block_header(b);
      if (h.magic != log_magic || h.salt != super.salt || h.seq < super.first_seq ||
          area.index(h.seq) != at + i)
        continue;
      if (head.found && h.seq <= head.seq) continue;
      if (PLEACH_PLANTED("seq_off_by_one_at_wrap") && at + i == 0 && h.seq != super.first_seq)
        continue;
      if (!block_valid({b, block_bytes}, store_id, super.salt)) continue;
      head = {true, h.seq, h.log_start, h.group, h.durable_upto, h.index, h.flags};
    }
    at += n;
  }
  return {};
}

class walker {
 public:
  walker(const log_area& a, const superblock& s, log_reader& r, recovery_index& i,
         std::string& text, const log_head& h)
      : area(a), super(s), reader(r), index(i), why(text), head(h) {}
  result<log_window> run();
  /// After a failure: what stands before the damage.
  const log_window& so_far() const { return w; }

 private:
  const log_area& area;
  const superblock& super;
  log_reader& reader;
  recovery_index& index;
  std::string& why;
  const log_head& head;
  log_window w;

  bool follows(const log_block_header& h, u64 seq) const;
  result<log_window> ended(u64 seq);

  bool inside = false;  ///< between FIRST and LAST
  bool first = true;
  lsn_t group = 0;
  u32 next_index = 0;
  u64 prev = 0;
};

/// RETURNS: whether the valid block is what must come now.
bool walker::follows(const log_block_header& h, u64 seq) const {
  bool chain =
      first ? (seq != super.first_seq || h.prev_checksum == super.salt) : h.prev_checksum == prev;
  // Salt and chain guard against the same ghosts: the plant that leaves the salt must leave the
  // chain too.
  if (!chain && !PLEACH_PLANTED("chain_ignored") && !PLEACH_PLANTED("no_salt_bump")) return false;
  bool opens = h.flags & BLOCK_FIRST;
  if (inside) return !opens && h.group == group && h.index == next_index;
  if (!opens || h.index != 0 || h.group <= super.base_lsn) return false;
  return first || h.group == group + 1;
}

result<log_window> walker::run() {
  record_parser parser(super, index);
  w.empty = false;
  w.start = w.end = head.log_start;
  // Nothing before log_start is needed; the last group known then is the one before the first to
  // come.
  w.last = head.seq - head.index == head.log_start ? head.group - 1 : lsn_t{super.base_lsn};
  w.durable_upto = head.durable_upto;
  for (u64 seq = head.log_start; seq <= head.seq; ++seq) {
    result<const std::byte*> b = reader.block(seq, head.seq + 1);
    if (!b && b.error() != errc::corrupt_log) {
      why = "reading log block " + std::to_string(seq) + " at block " +
            std::to_string(area.position(seq)) + " failed";
      return fail(b.error());
    }
    if (!b || !follows(block_header(*b), seq)) {
      if (PLEACH_PLANTED("group_first_last_only") && inside && head.group == group &&
          (head.flags & BLOCK_LAST)) {
        index.commit();
        w.end = head.seq + 1;
        w.last = group;
        ++w.groups;
        break;
      }
      return ended(seq);
    }
    const log_block_header& h = block_header(*b);
    if (!inside) {
      parser.begin();
      group = h.group;
      next_index = 0;
      inside = true;
    }
    if (status s = parser.feed(block_payload(*b), static_cast<u32>(seq - head.log_start)); !s) {
      why = s.error() == errc::no_memory
                ? "the log holds more records than the recovery index may (" +
                      std::to_string(index.bytes() >> 20) + " MiB): open with a larger cache"
                : "log block " + std::to_string(seq) + ": " +
                      (parser.problem ? parser.problem : "bad record");
      return fail(s.error() == errc::no_memory ? errc::no_memory : errc::corrupt_log);
    }
    prev = h.checksum;
    first = false;
    ++next_index;
    if (!(h.flags & BLOCK_LAST)) continue;
    if (!parser.at_record()) {
      why = "group " + std::to_string(group) + " ends inside a record";
      return fail(errc::corrupt_log);
    }
    inside = false;
    index.commit();
    w.end = seq + 1;
    w.last = group;
    ++w.groups;
  }
  if (inside) return ended(head.seq + 1);
  w.records = parser.records;
  return w;
}

/// Step 3: the log ends before `seq`, although blocks up to the head are there.
result<log_window> walker::ended(u64 seq) {
  index.drop();
  lsn_t broken = inside ? group : group + 1;
  // Broken at its very start: the group is the head's own, or one that was durable before the
  // head's was begun.
  if (first) broken = head.seq - head.index == seq ? head.group : head.durable_upto;
  if (head.durable_upto >= broken && broken != 0) {
    why = "log corrupt at LSN " + std::to_string(broken) + " (log block " + std::to_string(seq) +
          " at block " + std::to_string(area.position(seq)) + "): groups up to " +
          std::to_string(head.durable_upto) + " had been acknowledged and cannot be read";
    return fail(errc::corrupt_log);
  }
  w.dropped_blocks = head.seq + 1 - w.end;
  return w;
}

}  // namespace

result<log_window> scan_log(const log_area& area, const superblock& super, block_source& source,
                            recovery_index& index, std::string& why, bool* cut_short) {
  log_head head;
  if (status s = find_head(area, super, source, head); !s) {
    why = "reading the log failed";
    return fail(s.error());
  }
  log_window w;
  if (!head.found) {
    w.start = w.end = super.first_seq;
    w.last = super.base_lsn;
    return w;
  }
  bool sane = head.log_start >= super.first_seq && head.log_start <= head.seq &&
              head.seq - head.log_start < area.blocks() &&
              head.index <= head.seq - super.first_seq && head.group > super.base_lsn &&
              head.durable_upto < head.group;
  if (!sane) {
    why = "log block " + std::to_string(head.seq) + " contradicts itself";
    if (cut_short == nullptr) return fail(errc::corrupt_log);
    *cut_short = true;
    w.empty = false;
    w.start = w.end = head.seq + 1;
    w.last = std::max<lsn_t>(super.base_lsn, head.group);
    return w;
  }
  log_reader reader(area, load_le<u64>(super.uuid), super.salt, source, 64, 2);
  walker walk(area, super, reader, index, why, head);
  result<log_window> found = walk.run();
  if (found || found.error() != errc::corrupt_log || cut_short == nullptr) return found;
  *cut_short = true;
  index.drop();
  return walk.so_far();
}

}  // namespace pleach::txn
