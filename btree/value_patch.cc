#include "btree/value_patch.hh"

#include <algorithm>

namespace pleach::btree {

void patch_op::prepare(value_patch& p, cbytes data) {
  PLEACH_ASSERT(idle());
  patch_ = &p;
  data_ = data;
  commit_ = behind_ = false;
}

void patch_op::prepare_commit(value_patch& p, bool durable) {
  prepare(p, {});
  commit_ = true;
  durable_ = durable;
}

page_addr patch_op::bad_page() const {
  page_addr bad = patch_->commit.bad_page();
  return bad ? bad : patch_->reader.bad_page();
}

sm::step patch_op::tick(phase p) noexcept {
  switch (p) {
    case INIT:
      return init();
    case FIND:
      return find();
    case FOUND:
      return found();
    case READ:
      return read();
    case COPY:
      return copy();
    case COPIED:
      return copied();
    case DATA:
      return data();
    case WRITTEN:
      return written();
    case SEAL:
      return seal();
    case COMMIT:
      return commit();
    case CLEANUP:
      return cleanup();
    case DONE:
    case phase_count_:
      break;
  }
  return go(DONE);
}

sm::step patch_op::init() {
  if (errc e = patch_->draft.broken(); !is_ok(e)) return fail(e);
  return patch_->based ? go(DATA) : go(FIND);
}

/// No bytes of it yet: where to begin depends on what it is.
sm::step patch_op::find() {
  patch_->value.offset = 0;
  patch_->value.to = {};
  prepare_read();
  return sub(patch_->reader, FOUND);
}

sm::step patch_op::found() {
  value_patch& p = *patch_;
  if (!is_ok(p.reader.out.code)) return fail(p.reader.out.code);
  if (p.at == value_end) p.at = p.value.total;
  if (p.at > p.value.total) return fail(errc::invalid);
  p.based = true;
  p.start = 0;
  if (btree::has_map(p.value.value) && !p.t->digest) {
    p.start = p.at / value_chunk_bytes * value_chunk_bytes;
    p.draft.patch(p.value.value, p.reader.map(), p.start);
  }
  return p.start < p.at ? copy_range(p.start, p.at) : go(DATA);
}

/// Bytes of the present value that go to the draft as they are.
sm::step patch_op::copy_range(u64 from, u64 to) {
  value_patch& p = *patch_;
  p.copy_end = to;
  p.copied.resize(std::min(to - from, piece_bytes));
  p.value.offset = from;
  p.value.to = p.copied;
  return go(READ);
}

sm::step patch_op::read() {
  prepare_read();
  return sub(patch_->reader, COPY);
}

/// The range that `value` says.
void patch_op::prepare_read() {
  value_patch& p = *patch_;
  read_op::sink to;
  to.range = &p.value;
  p.reader.reset();
  p.reader.prepare(*p.t, seek::EXACT, p.key, to);
}

sm::step patch_op::copy() {
  value_patch& p = *patch_;
  if (!is_ok(p.reader.out.code)) return fail(p.reader.out.code);
  PLEACH_ASSERT(p.value.got == p.copied.size());
  p.writer.reset();
  p.writer.prepare(p.draft, p.copied, false);
  return sub(p.writer, COPIED);
}

sm::step patch_op::copied() {
  const u64 end = patch_->value.offset + patch_->copied.size();
  patch_->copied = {};
  if (!is_ok(patch_->writer.out.code)) return fail(patch_->writer.out.code);
  if (end < patch_->copy_end) return copy_range(end, patch_->copy_end);
  return behind_ ? close() : go(DATA);
}

sm::step patch_op::data() {
  value_patch& p = *patch_;
  p.writer.reset();
  p.writer.prepare(p.draft, data_, false);
  return sub(p.writer, WRITTEN);
}

sm::step patch_op::written() {
  value_patch& p = *patch_;
  if (!is_ok(p.writer.out.code)) return fail(p.writer.out.code);
  p.given += data_.size();
  if (!commit_) return go(CLEANUP);
  if (p.given == 0) return go(CLEANUP);  // nothing is to be changed
  u64 from = p.at + p.given, to = p.value.total;
  if (p.has_map()) to = std::min(to, round_up(from, u64{value_chunk_bytes}));
  behind_ = true;
  return from < to ? copy_range(from, to) : close();
}

/// All of the draft is there.
sm::step patch_op::close() {
  return patch_->has_map() ? go(SEAL) : go(COMMIT);
}

sm::step patch_op::seal() {
  value_patch& p = *patch_;
  p.writer.reset();
  p.writer.prepare(p.draft, {}, true);
  return sub(p.writer, COMMIT);
}

sm::step patch_op::commit() {
  value_patch& p = *patch_;
  if (!is_ok(p.writer.out.code)) return fail(p.writer.out.code);
  p.item = {};
  p.item.t = p.t;
  p.item.kind = change::UPSERT;
  p.item.key = p.key;
  p.item.only_over = &p.value.value;
  // Less than a chunk is still in memory: a value like any other.
  if (p.draft.outside())
    p.item.draft = &p.draft;
  else
    p.item.value = p.draft.small();
  p.commit.reset();
  p.commit.prepare(*p.t->ctx, {&p.item, 1}, durable_);
  return sub(p.commit, CLEANUP);
}

sm::step patch_op::cleanup() {
  value_patch& p = *patch_;
  if (is_ok(out.code) && commit_ && p.given != 0) out.code = p.commit.out.code;
  out.lsn = std::max(p.reader.out.lsn, p.commit.out.lsn);
  if (!is_ok(out.code)) p.draft.give_up(out.code);
  p.copied = {};
  return go(DONE);
}

}  // namespace pleach::btree
