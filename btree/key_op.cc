#include "btree/key_op.hh"

#include <algorithm>

#include "be/base/planted.hh"
#include "btree/value_map.hh"

namespace pleach::btree {

void key_op::prepare(context& c, const value_reference& extent) {
  PLEACH_ASSERT(idle());
  ctx_ = &c;
  extent_ = extent;
  probe_ = nullptr;
  to_ = nullptr;
  sign_ = 0;
}

void key_op::prepare_compare(context& c, key_probe& probe) {
  PLEACH_ASSERT(probe.asks());
  prepare(c, probe.question());
  probe_ = &probe;
}

void key_op::prepare_load(context& c, const value_reference& extent, std::string& to) {
  prepare(c, extent);
  to_ = &to;
}

sm::step key_op::tick(phase p) noexcept {
  switch (p) {
    case INIT:
      return init();
    case READ:
      extent_op_.reset();
      extent_op_.prepare_scan(ctx_->engine, page_addr(extent_.run), extent_.length, &visit, this);
      return sub(extent_op_, JUDGE);
    case JUDGE:
      return judge();
    case CLEANUP:
      return go(DONE);
    case DONE:
    case phase_count_:
      break;
  }
  return go(DONE);
}

sm::step key_op::init() {
  const u64 blocks = ctx_->engine.vol().super.blocks;
  if (!sound_key_reference(extent_) || !sound_reference(extent_, blocks))
    return fail(errc::corrupt);
  if (!hash_) hash_ = std::make_unique<hash64_stream>();
  hash_->restart();
  if (to_ != nullptr) to_->clear();
  ++ctx_->stats.key_reads;
  return go(READ);
}

bool key_op::visit(void* self, u64 offset, cbytes blocks) {
  auto& op = *static_cast<key_op*>(self);
  const cbytes data = blocks.first(std::min<u64>(blocks.size(), op.extent_.length - offset));
  op.hash_->add(data);
  if (op.to_ != nullptr) op.to_->append(as_text(data));
  if (op.probe_ == nullptr || op.sign_ != 0) return true;
  const cbytes key = op.probe_->key();
  const cbytes rest = key.subspan(std::min<u64>(offset, key.size()));
  op.sign_ = compare_keys(data, rest.first(std::min(data.size(), rest.size())));
  return true;
}

sm::step key_op::judge() {
  if (!is_ok(extent_op_.out.code)) return fail(extent_op_.out.code);
  if (hash_->value() != extent_.checksum) return fail(errc::corrupt);
  if (probe_ == nullptr) return go(CLEANUP);
  if (sign_ == 0 && extent_.length < probe_->key().size()) sign_ = -1;
  probe_->answer(PLEACH_PLANTED("long_key_misjudged") ? -sign_ : sign_);
  return go(CLEANUP);
}

bool key_reader::have(const value_reference& extent) {
  if (loaded_.length != 0 && same_extent(loaded_, extent)) return true;
  wanted_ = extent;
  return false;
}

sm::op& key_reader::next(context& c, key_probe* first, key_probe* second) {
  op_.reset();
  asked_ = asks(first) ? first : asks(second) ? second : nullptr;
  if (asked_ != nullptr) {
    op_.prepare_compare(c, *asked_);
  } else {
    loaded_ = {};
    op_.prepare_load(c, wanted_, key_);
  }
  return op_;
}

bool long_keys::follow(cbytes stub, cbytes& key) {
  const value_reference extent = reference_of(stub);
  if (!reader.have(extent)) return false;
  fence = reader.key();
  key = as_bytes(fence);
  probe.begin(key);
  probe.learn(extent, 0);
  return true;
}

errc key_reader::take() {
  const errc code = op_.out.code;
  if (asked_ != nullptr) {
    if (!is_ok(code)) asked_->drop_question();
  } else {
    if (is_ok(code)) loaded_ = wanted_;
    wanted_ = {};
  }
  return code;
}

}  // namespace pleach::btree
