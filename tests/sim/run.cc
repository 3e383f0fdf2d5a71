// The life of a run. Its steps: steps.cc; its operations: operations.cc, judgement.cc.
#include "tests/sim/run.hh"

#include <fmt/format.h>

#include <cerrno>

#include "be/base/checksum.hh"

namespace pleach::sim {

using store_layer::core;

run::run(const config& c, const run_options& o, totals& t)
    : config_(c),
      options_(o),
      totals_(t),
      random_(mix64(c.seed)),
      image_random_(mix64(c.seed ^ 0x1333)),
      edit_random_(mix64(c.seed ^ 0xed17)),
      range_random_(mix64(c.seed ^ 0xc07)),
      env_({.seed = c.seed, .chaos_per_mille = 0}),
      checker_(config_, model_, t) {
  for (const char* site : {"yield", "evict", "move", "wanted", "check"})
    env_.set_chaos(site, config_.chaos_per_mille);
  env_.chaotic = config_.chaos_per_mille != 0;
  set_stuck_report(env_);
  u32 reversed = 0;
  for (u32 i = 0; i < std::size(config_.rules); ++i)
    reversed |= u32{config_.rules[i].order == btree::ORDER_REGISTERED} << i;
  set_reversed(reversed);
  for (u32 i = 0; i < config_.in_flight; ++i) slots_.push_back(std::make_unique<slot>());
}

run::~run() = default;

u64 run::go() {
  ++totals_.seeds;
  image_ = io::sim_image(config_.volume_bytes);
  format(nullptr);
  model_.roll_back_to(0);
  for (u32 cycle = 0; cycle < config_.cycles; ++cycle) {
    current_report().phase = fmt::format("cycle {}", cycle);
    open();
    in_cycle_ = 0;
    u64 target = config_.ops_per_cycle;
    u64 trouble_at = config_.trouble != trouble_kind::NONE ? random_.below(target) : ~u64{0};
    while (in_cycle_ < target && issued_ < options_.stop_after) {
      if (in_cycle_ >= trouble_at && !trouble_) install_trouble();
      step();
      if (core_->engine->health() != errc::ok) break;
    }
    end_cycle();
    if (issued_ >= options_.stop_after) break;
  }
  current_report().phase = "the last open";
  io::sim_image last = image_;
  open();
  verify_store(*core_, false);
  dying_ = true;
  if (status s = core_->engine->close(); !s)
    violation(fmt::format("closing: {}", name_of(s.error())));
  trace_ = mix64(trace_ ^ dev_->trace_hash());
  trees_.clear();
  env_.on_stuck_datum = nullptr;
  core_->abandon();
  core_.reset();
  current_report().device = nullptr;
  image_ = std::move(last);
  forest before = model_.state_at(~lsn_t{0});
  format(&before);
  return trace_;
}

/// Makes a store of `image_`; `before`: of the trees of the store that it holds now.
void run::format(const forest* before) {
  current_report().phase = before == nullptr ? "format" : "format of a store that is there";
  io::sim_device dev(env_, image_);
  std::vector<io::sim_image> cut;
  dev.on_event = [&](io::sim_device& d) {
    if (cut.size() < 4 && image_random_.chance(config_.image_per_mille))
      cut.push_back(d.crash_image(image_random_, draw_policy(image_random_)));
  };
  store_layer::format_spec spec;
  spec.log_bytes = config_.log_blocks * block_bytes;
  spec.max_node_blocks = config_.max_node_blocks;
  u64 a = random_.next() | 1, b = random_.next();
  std::memcpy(spec.uuid, &a, 8);
  std::memcpy(spec.uuid + 8, &b, 8);
  if (auto made = core::format(env_, dev, spec); !made)
    violation("format: " + made.error().message);
  if (options_.check_images)
    for (const io::sim_image& i : cut) checker_.check_half_made(i, before);
  image_ = dev.durable();
  if (!(dev.current() == image_)) violation("format ended with writes that are not durable");
}

void run::open() {
  auto device = std::make_unique<io::sim_device>(env_, image_);
  dev_ = device.get();
  current_report().device = dev_;
  trouble_ = dying_ = false;
  std::vector<image_job> taken;
  dev_->on_event = [&](io::sim_device& d) {
    if (images_ >= config_.images_max || !image_random_.chance(config_.image_per_mille)) return;
    ++images_;
    io::crash_policy p = draw_policy(image_random_);
    taken.push_back({d.crash_image(image_random_, p), 0, 0, ~lsn_t{0}, 1,
                     std::string(io::name_of(p.what)) + " while opening"});
  };
  auto opened = core::open(env_, std::move(device), core_options_for(config_, false), "store");
  if (!opened) {
    current_report().device = nullptr;
    violation(fmt::format("the store does not open: {} ({})", opened.error().message,
                          name_of(opened.error().code)));
  }
  core_ = *opened;
  env_.on_stuck_datum = &core_->loop;
  dev_->on_event = nullptr;
  lsn_t reached = core_->engine->recovered();
  if (reached < model_.acked)
    violation(
        fmt::format("acknowledged group {} is lost: recovery came to {}", model_.acked, reached));
  forest expected = model_.state_at(reached);
  forest found = read_forest(*core_, expected);
  if (std::string d = difference(expected, found); !d.empty())
    violation(fmt::format("after reopening at group {}: {}; {}", reached, d, core_->recovery));
  ++totals_.recoveries;
  model_.roll_back_to(reached);
  model_.acked = reached;
  history_.reset(expected);
  clock_ = 1;
  if (options_.check_images) {
    for (image_job& j : taken) {
      j.acked = j.cap = reached;
      checker_.add(std::move(j));
    }
    checker_.run_all();
  }
  adopt_trees();
  dev_->on_event = [this](io::sim_device& d) { capture_image(d); };
}

void run::adopt_trees() {
  trees_.clear();
  std::string key, value, from;
  for (;;) {
    btree::read_op op;
    op.prepare(*core_->catalogue, from.empty() ? btree::seek::AT_LEAST : btree::seek::AFTER,
               as_bytes(from), {&key, &value, nullptr});
    run_op(*core_, op);
    if (op.out.code != errc::ok) return;
    btree::tree_record rec;
    if (btree::parse_tree_record(as_bytes(value), rec) && rec.state == btree::TREE_LIVE) {
      open_tree& o = trees_[key];
      o.record = rec;
      o.t = std::make_unique<btree::tree>(*core_->ctx);
      btree::adopt(*o.t, rec, reverse_name);
      o.t->name = key;
    } else {
      violation("tree " + printable(key) + " is still being dropped after a writable open");
    }
    from = key;
  }
}

void run::capture_image(io::sim_device& d) {
  if (dying_ || images_ >= std::min(config_.images_max, options_.images_cap) ||
      !image_random_.chance(config_.image_per_mille))
    return;
  ++images_;
  image_job j;
  j.image = doomed_image(j);
  (void)d;
  if (options_.check_images) checker_.add(std::move(j));
}

io::sim_image run::doomed_image(image_job& j) {
  io::crash_policy p = draw_policy(image_random_);
  j.policy = io::name_of(p.what);
  j.acked = std::max(model_.acked, core_->engine->reached(txn::watermark::DURABLE));
  j.open_lsn = core_->engine->lsn();
  if (core_->engine->reached(txn::watermark::VISIBLE) >= j.open_lsn) ++j.open_lsn;
  return dev_->crash_image(image_random_, p);
}

/// The group that is open has not been written: nothing of it may come back. (`lsn()` names it.)
void run::end_cycle() {
  bool clean = !trouble_ && core_->engine->health() == errc::ok &&
               random_.chance(config_.clean_close_per_mille);
  image_job crash;
  if (clean) {
    drain(false);
    refresh();
    current_report().phase = "closing";
    if (status s = core_->engine->close(); !s)
      violation(fmt::format("closing: {}", name_of(s.error())));
    if (!core_->pages->all_clean()) violation("pages are dirty after a close");
    if (checker_.pending()) checker_.run_all();
    model_.acked = core_->engine->reached(txn::watermark::DURABLE);
    dying_ = true;
    image_ = dev_->durable();
    if (!(dev_->current() == image_)) violation("closing ended with writes that are not durable");
  } else {
    crash.image = doomed_image(crash);
    model_.acked = crash.acked;
    dying_ = true;
    dev_->faults.rules.clear();
    dev_->release_hung();
    drain(true);
    refresh();
    if (checker_.pending()) checker_.run_all();
    image_ = crash.image;
  }
  trace_ = mix64(trace_ ^ dev_->trace_hash());
  dev_->on_event = nullptr;
  trees_.clear();
  locks_.clear();
  for (auto& s : slots_) s->copy.source = nullptr;
  totals_.add(core_->ctx->stats);
  env_.on_stuck_datum = nullptr;
  core_->abandon();
  core_.reset();
  dev_ = nullptr;
  current_report().device = nullptr;
}

void run::drain(bool cancel) {
  if (cancel)
    for (auto& s : slots_) {
      if (!s->busy()) continue;
      s->limited = true;
      s->steps_left = 0;
      if (s->kind != job::RECLAIM) s->running().cancel();
    }
  struct frame {
    run* r;
    u64 left;
  } f{this, 3'000'000};
  status s = core_->loop.run_while(
      [](void* p) {
        auto& x = *static_cast<frame*>(p);
        if (--x.left == 0) violation("liveness: operations do not end");
        return x.r->busy_slots() != 0;
      },
      &f);
  if (!s) violation(fmt::format("the reactor refused: {}", name_of(s.error())));
}

void run::install_trouble() {
  using io::fault;
  trouble_ = true;
  io::fault_rule r;
  r.at = random_.below(12);
  switch (config_.trouble) {
    case trouble_kind::NONE:
      return;
    case trouble_kind::READ_ONCE:
      r.kinds = io::on(io::request_kind::READ);
      r.what = {fault::ERROR, EIO, 0};
      break;
    case trouble_kind::READ_STICKY:
      r.kinds = io::on(io::request_kind::READ);
      r.sticky = true;
      r.what = {fault::ERROR, EIO, 0};
      r.from = random_.below(config_.volume_bytes);
      r.to = r.from + 65536;
      break;
    case trouble_kind::WRITE:
      r.kinds = io::on(io::request_kind::WRITE);
      r.sticky = random_.chance(500);
      r.what = {fault::ERROR, EIO, 0};
      break;
    case trouble_kind::FLUSH:
      r.kinds = io::on(io::request_kind::FLUSH);
      r.sticky = random_.chance(300);
      r.what = {fault::ERROR, EIO, 0};
      break;
    case trouble_kind::SHORT:
      r.kinds = io::on(io::request_kind::WRITE) | io::on(io::request_kind::READ);
      r.at = random_.below(4);
      r.what = {fault::SHORT, 0, 512 * (1 + random_.below(8))};
      for (u32 i = 0; i < 5; ++i) dev_->faults.rules.push_back(r), r.at += 1 + random_.below(20);
      break;
    case trouble_kind::FULL_DEVICE:
      r.kinds = io::on(io::request_kind::WRITE);
      r.sticky = random_.chance(500);
      r.what = {fault::ERROR, ENOSPC, 0};
      break;
    case trouble_kind::HANG:
      r.what = {fault::HANG, 0, env_.now() + random_.below(20'000'000'000)};
      break;
    case trouble_kind::GONE:
      dev_->remove();
      return;
  }
  dev_->faults.rules.push_back(r);
}

}  // namespace pleach::sim
