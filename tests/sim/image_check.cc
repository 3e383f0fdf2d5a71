#include "tests/sim/image_check.hh"

#include <fmt/format.h>

#include "be/base/checksum.hh"
#include "btree/read_op.hh"
#include "btree/verify.hh"

namespace pleach::sim {

using store_layer::core;

store_layer::core_options core_options_for(const config& c, bool read_only) {
  cache::cache_options least;
  least.max_page_blocks = c.max_node_blocks;
  least.read_only = read_only;
  store_layer::core_options o;
  o.read_only = read_only;
  o.log_buffer_bytes = 128 << 10;
  o.max_run_blocks = c.max_run_blocks;
  o.orders[reverse_name] = {&compare_reversed, nullptr};
  o.cache_bytes = cache::page_cache::minimum_budget(least) + o.log_buffer_bytes +
                  u64{c.max_node_blocks} * block_bytes + c.extra_cache;
  if (o.cache_bytes < 1 << 20)
    o.cache_bytes += 256 << 10;  // the recovery index takes a quarter of it
  if (read_only) o.cache_bytes = o.cache_bytes * 2 + (4 << 20);
  return o;
}

void set_stuck_report(io::sim_environment& env) {
  env.on_stuck = [](void* loop) {
    std::string waits;
    if (loop != nullptr)
      static_cast<sm::reactor*>(loop)->for_each_waiting(
          [](sm::op& o, void* to) {
            *static_cast<std::string*>(to) +=
                fmt::format(" {} waits for {};", o.machine().name, o.waiting_for());
          },
          &waits);
    violation("deadlock: nothing is in flight and" + (waits.empty() ? " nobody waits" : waits));
  };
}

io::crash_policy draw_policy(random_stream& r) {
  io::crash_policy p;
  p.what = static_cast<io::crash_policy::kind>(r.below(io::crash_policy::kinds));
  static constexpr u32 keep[] = {100, 500, 900};
  p.keep_per_mille = keep[r.below(3)];
  return p;
}

void run_op(core& c, sm::op& op) {
  c.loop.start(op);
  if (status s = c.loop.run_until(op); !s)
    violation(fmt::format("the reactor refused: {}", name_of(s.error())));
}

namespace {
/// One pass over a tree in key order. `each(key, value)`.
template <class Each>
void pass(core& c, btree::tree& t, bool forward, Each each) {
  std::string key, value, from;
  btree::read_op op;
  auto mode = forward ? btree::seek::AT_LEAST : btree::seek::LAST;
  for (;;) {
    op.reset();
    op.prepare(t, mode, as_bytes(from), {&key, forward ? &value : nullptr, nullptr});
    run_op(c, op);
    if (op.out.code == errc::not_found) return;
    if (op.out.code != errc::ok)
      violation(fmt::format("scan of tree {}: {} (page {})", t.name, name_of(op.out.code),
                            op.bad_page().block()));
    each(key, value);
    from = key;
    mode = forward ? btree::seek::AFTER : btree::seek::BEFORE;
  }
}
}  // namespace

forest read_forest(core& c, const forest& expected) {
  forest found;
  std::map<std::string, btree::tree_record> records;
  pass(c, *c.catalogue, true, [&](const std::string& k, const std::string& v) {
    btree::tree_record rec;
    if (!btree::parse_tree_record(as_bytes(v), rec))
      violation("catalogue record of " + printable(k) + " is unsound");
    if (rec.state == btree::TREE_LIVE) records[k] = rec;
  });
  for (auto& [name, rec] : records) {
    btree::tree t(*c.ctx);
    btree::adopt(t, rec, reverse_name);
    t.name = name;
    content& to = content_in(found, name);
    auto e = expected.find(name);
    std::string last;
    bool first = true;
    pass(c, t, true, [&](const std::string& k, const std::string& v) {
      if (!first && !to.key_comp()(last, k))
        violation("tree " + name + ": keys out of order at " + printable(k));
      first = false;
      last = k;
      value_t value{hash64(as_bytes(v)) | 1, static_cast<u32>(v.size())};
      if (e != expected.end())
        if (auto r = e->second.find(k); r != e->second.end() && same_value(v, r->second))
          value = r->second;
      to[k] = value;
    });
    auto at = to.rbegin();
    pass(c, t, false, [&](const std::string& k, const std::string&) {
      if (at == to.rend() || at->first != k)
        violation("tree " + name + ": backwards differs at " + printable(k));
      ++at;
    });
    if (at != to.rend()) violation("tree " + name + ": backwards misses " + printable(at->first));
  }
  return found;
}

void verify_store(core& c, bool dropping_allowed) {
  (void)dropping_allowed;
  std::string problems;
  btree::verifier v(
      *c.ctx,
      [&](std::string where, std::string what) { problems += where + ": " + what + "; "; },
      [](u64, u64) { return true; });
  auto r = v.run();
  if (!r) violation(fmt::format("the check failed: {}", name_of(r.error())));
  if (!problems.empty()) violation("the check found: " + problems);
  if (const char* what = c.pages->check())
    violation(std::string("the page cache is unsound: ") + what);
}

void image_checker::run_all() {
  while (!pending_.empty()) {
    image_job job = std::move(pending_.front());
    pending_.pop_front();
    check(job);
  }
}

void image_checker::check(const image_job& job) {
  ++totals_.images;
  u64 number = totals_.images;
  std::string before = current_report().phase;
  current_report().phase = fmt::format("crash image {} (policy {}, depth {}, acked {}) of: {}",
                                       number, job.policy, job.depth, job.acked, before);
  io::sim_environment env({.seed = random_.next(),
                           .chaos_per_mille = random_.chance(200) ? config_.chaos_per_mille : 0});
  set_stuck_report(env);
  auto device = std::make_unique<io::sim_device>(env, job.image);
  io::sim_device* dev = device.get();
  io::sim_device* outer = current_report().device;
  current_report().device = dev;
  std::vector<image_job> nested;
  if (job.depth < 3 && random_.chance(60)) {
    u32 per_mille = 1 + static_cast<u32>(random_.below(60));
    dev->on_event = [&, per_mille](io::sim_device& d) {
      if (nested.size() >= 3 || !random_.chance(per_mille)) return;
      io::crash_policy p = draw_policy(random_);
      nested.push_back(
          {d.crash_image(random_, p), 0, 0, ~lsn_t{0}, job.depth + 1, io::name_of(p.what)});
    };
  }
  auto opened = core::open(env, std::move(device), core_options_for(config_, false), "image");
  if (!opened) {
    current_report().device = outer;
    violation(fmt::format("the image does not open: {} ({})", opened.error().message,
                          name_of(opened.error().code)));
  }
  dev->on_event = nullptr;
  core& c = **opened;
  lsn_t reached = c.engine->recovered();
  if (reached < job.acked)
    violation(
        fmt::format("acknowledged group {} is lost: recovery came to {}", job.acked, reached));
  if (reached >= job.open_lsn)
    violation(
        fmt::format("recovery came to group {}, but {} was open still", reached, job.open_lsn));
  lsn_t content_lsn = std::min(reached, job.cap);
  forest expected = model_.state_at(content_lsn);
  forest found = read_forest(c, expected);
  if (std::string d = difference(expected, found); !d.empty())
    violation(fmt::format("after recovery to group {}: {}; {}", reached, d, c.recovery));
  verify_store(c, false);
  bool closes = random_.chance(60);
  if (closes) {
    if (status s = c.engine->close(); !s) violation(fmt::format("closing: {}", name_of(s.error())));
    job.depth == 0 ? check_read_only({dev->current(), 0, 0, ~lsn_t{0}, 3, "closed"}, expected)
                   : void();
  }
  c.abandon();
  opened->reset();
  current_report().device = outer;
  if (random_.chance(60)) check_read_only(job, expected);
  if (random_.chance(60)) {
    u64 seed = random_.next();
    if (recover_and_close(job, seed) != recover_and_close(job, seed))
      violation("recovering the same image twice gives different bytes");
  }
  if (config_.damage_per_mille != 0 && random_.chance(config_.damage_per_mille)) check_damaged(job);
  current_report().phase = before;
  for (image_job& n : nested) {
    n.acked = std::max(reached, job.acked);
    n.cap = content_lsn;
    ++totals_.nested;
    check(n);
  }
}

void image_checker::check_half_made(const io::sim_image& image, const forest* before) {
  ++totals_.images;
  io::sim_environment env({.seed = random_.next()});
  set_stuck_report(env);
  auto opened = core::open(env, std::make_unique<io::sim_device>(env, image),
                           core_options_for(config_, false), "half made");
  if (!opened) {
    errc code = opened.error().code;
    if (code != errc::not_a_store && class_of(code) != error_class::corrupt)
      violation(fmt::format("an interrupted mkfs: {} ({})", opened.error().message, name_of(code)));
    return;
  }
  core& c = **opened;
  forest none, found = read_forest(c, before != nullptr ? *before : none);
  std::string d = difference(none, found);
  if (!d.empty() && before != nullptr) d = difference(*before, found);
  if (!d.empty()) violation("an interrupted mkfs: " + d + "; " + c.recovery);
  verify_store(c, false);
  c.abandon();
}

void image_checker::check_read_only(const image_job& job, const forest& expected) {
  io::sim_environment env({.seed = random_.next()});
  set_stuck_report(env);
  io::sim_options so;
  so.read_only = true;
  auto device = std::make_unique<io::sim_device>(env, job.image, so);
  io::sim_device* dev = device.get();
  auto opened =
      core::open(env, std::move(device), core_options_for(config_, true), "image read-only");
  if (!opened)
    violation(fmt::format("the image does not open read-only: {} ({})", opened.error().message,
                          name_of(opened.error().code)));
  core& c = **opened;
  forest found = read_forest(c, expected);
  if (std::string d = difference(expected, found); !d.empty())
    violation("read-only: " + d + "; " + c.recovery);
  verify_store(c, true);
  if (dev->stats().writes != 0 || dev->stats().flushes != 0 || !(dev->current() == job.image))
    violation("a read-only open changed the device");
  c.abandon();
}

namespace {
/// Like `read_forest`, but an error ends the reading of that tree.
/// RETURNS: what differs from `expected` without an error.
std::string differs_silently(core& c, const forest& expected) {
  std::string key, value, from;
  auto mode = btree::seek::AT_LEAST;
  std::map<std::string, btree::tree_record> records;
  auto next = [&](btree::tree& t) {
    btree::read_op op;
    op.prepare(t, mode, as_bytes(from), {&key, &value, nullptr});
    run_op(c, op);
    from = key;
    mode = btree::seek::AFTER;
    return op.out.code;
  };
  errc code;
  while ((code = next(*c.catalogue)) == errc::ok) {
    btree::tree_record rec;
    if (!btree::parse_tree_record(as_bytes(value), rec)) return {};
    if (rec.state == btree::TREE_LIVE) records[key] = rec;
  }
  if (code != errc::not_found) return {};
  for (auto& [name, rec] : records) {
    auto e = expected.find(name);
    if (e == expected.end()) return "tree " + name + " should not be there";
    btree::tree t(*c.ctx);
    btree::adopt(t, rec, reverse_name);
    from.clear();
    mode = btree::seek::AT_LEAST;
    auto at = e->second.begin();
    while ((code = next(t)) == errc::ok) {
      if (at == e->second.end() || at->first != key)
        return "tree " + name + ": a wrong key " + printable(key);
      if (!same_value(value, at->second))
        return "tree " + name + ": a wrong value at " + printable(key);
      ++at;
    }
    if (code == errc::not_found && at != e->second.end()) return "tree " + name + " ends early";
  }
  if (records.size() != expected.size()) return "a tree is missing";
  return {};
}
}  // namespace

/// One flipped bit: refused, or an error where it is met, or harmless; a shorter log is allowed
/// (the torn tail looks the same).
void image_checker::check_damaged(const image_job& job) {
  ++totals_.damaged;
  image_job bad = job;
  std::vector<u64> used;
  for (u64 b = 0; b < bad.image.size() / block_bytes; ++b)
    if (bad.image.block(b) != nullptr) used.push_back(b);
  u64 offset =
      used[random_.below(used.size())] * block_bytes + random_.below(block_bytes / 512) * 512;
  std::byte sector[512];
  bad.image.read(offset, sector);
  sector[random_.below(512)] ^= static_cast<std::byte>(1u << random_.below(8));
  bad.image.write(offset, sector);
  io::sim_environment env({.seed = random_.next()});
  set_stuck_report(env);
  auto opened = core::open(env, std::make_unique<io::sim_device>(env, bad.image),
                           core_options_for(config_, false), "damaged image");
  if (!opened) {
    if (class_of(opened.error().code) != error_class::corrupt &&
        opened.error().code != errc::not_a_store && opened.error().code != errc::newer_format)
      violation(fmt::format("a damaged image: {} ({})", opened.error().message,
                            name_of(opened.error().code)));
    ++totals_.damage_refused;
    return;
  }
  core& c = **opened;
  // In the torn tail a flipped bit looks like an interrupted write: the log is shorter then.
  lsn_t reached = std::min(c.engine->recovered(), job.cap);
  std::string d =
      reached < model_.oldest() ? "" : differs_silently(c, model_.state_at(reached));
  if (!d.empty())
    violation(fmt::format("a flipped bit in block {} is not noticed: {}", offset / block_bytes, d));
  c.abandon();
}

u64 image_checker::recover_and_close(const image_job& job, u64 seed) {
  io::sim_environment env({.seed = seed});
  set_stuck_report(env);
  auto device = std::make_unique<io::sim_device>(env, job.image);
  io::sim_device* dev = device.get();
  auto opened = core::open(env, std::move(device), core_options_for(config_, false), "image");
  if (!opened)
    violation(fmt::format("the image does not open a second time: {}", opened.error().message));
  if (status s = (*opened)->engine->close(); !s)
    violation(fmt::format("closing: {}", name_of(s.error())));
  u64 h = dev->current().hash();
  (*opened)->abandon();
  return h;
}

}  // namespace pleach::sim
