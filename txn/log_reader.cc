#include "txn/log_reader.hh"

#include <algorithm>

#include "be/base/assert.hh"

namespace pleach::txn {

status immediate_source::read(u64 block, bytes out) {
  i64 n = dev_.read_now(block << block_shift, out);
  if (n < 0) return fail(from_errno(static_cast<int>(n)));
  if (static_cast<u64>(n) != out.size()) return fail(errc::truncated);
  return {};
}

log_reader::log_reader(const log_area& area, u64 store_id, u64 salt, block_source& source,
                       u32 chunk_blocks, u32 chunks)
    : area_(area),
      store_id_(store_id),
      salt_(salt),
      source_(source),
      chunk_blocks_(chunk_blocks),
      chunks_(chunks),
      memory_(u64{chunk_blocks} * chunks * block_bytes) {
  PLEACH_ASSERT(chunk_blocks > 0 && chunk_blocks <= 64 && chunks > 0);
}

result<const std::byte*> log_reader::raw(u64 seq, u64 end) {
  PLEACH_ASSERT(seq < end);
  u64 number = seq / chunk_blocks_;
  std::size_t slot = number % chunks_.size();
  chunk& c = chunks_[slot];
  std::byte* at = memory_.data() + slot * chunk_blocks_ * u64{block_bytes};
  if (seq < c.seq || seq >= c.seq + c.blocks) {
    u64 until = std::min(end, (number + 1) * chunk_blocks_);
    c = {};
    // A log smaller than a chunk: never the same place twice.
    u64 count = std::min(until - seq, area_.blocks());
    for (u64 done = 0; done < count;) {
      u64 n = std::min(count - done, area_.contiguous(seq + done));
      if (status s = source_.read(area_.position(seq + done),
                                  {at + (done << block_shift), n << block_shift});
          !s)
        return fail(s.error());
      done += n;
    }
    c.seq = seq;
    c.blocks = static_cast<u32>(count);
    c.checked = 0;
  }
  return at + ((seq - c.seq) << block_shift);
}

result<const std::byte*> log_reader::block(u64 seq, u64 end) {
  result<const std::byte*> r = raw(seq, end);
  if (!r) return r;
  chunk& c = chunks_[seq / chunk_blocks_ % chunks_.size()];
  u64 bit = u64{1} << (seq - c.seq);
  if (!(c.checked & bit)) {
    if (!block_valid({*r, block_bytes}, store_id_, salt_) || block_header(*r).seq != seq)
      return fail(errc::corrupt_log);
    c.checked |= bit;
  }
  return r;
}

status log_reader::copy(u64 seq, u32 offset, u64 length, u64 end, std::vector<std::byte>& out,
                        u64& group) {
  out.clear();
  for (bool first = true; length > 0 || first; first = false, ++seq, offset = 0) {
    if (seq >= end) return fail(errc::corrupt_log);
    result<const std::byte*> b = block(seq, end);
    if (!b) return fail(b.error());
    if (first) group = block_header(*b).group;
    cbytes payload = block_payload(*b);
    if (offset > payload.size() || (payload.size() == offset && !first))
      return fail(errc::corrupt_log);
    u64 n = std::min<u64>(length, payload.size() - offset);
    out.insert(out.end(), payload.data() + offset, payload.data() + offset + n);
    length -= n;
  }
  return {};
}

}  // namespace pleach::txn
