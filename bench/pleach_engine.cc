// Pleach under test, through its public API only, all on the calling thread: one operation in
// flight with the blocking face, more with callbacks that start the next operation in the same
// slot.
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cstddef>
#include <new>
#include <optional>

#include "bench/engine.hh"
#include "bench/process_counters.hh"
#include "bench/workload.hh"
#include "pleach/pleach.hh"

namespace pleach::bench {
namespace {

void check(const answer& a, const char* what) {
  if (!a) die(fmt::format("pleach: {}: {}", what, a.text()));
}

/// The event loop of a program that has nothing else to do.
void pump(store& s) {
  if (auto round = s.poll(); !round) die("pleach: poll: " + round.error().text());
  const std::int64_t wait_ns = s.next_timeout_ns();
  if (wait_ns == 0) return;
  const timespec limit{wait_ns / 1'000'000'000, wait_ns % 1'000'000'000};
  pollfd fd{s.event_fd(), POLLIN, 0};
  ::ppoll(&fd, 1, wait_ns < 0 ? nullptr : &limit, nullptr);
}

/// N slots, each with one operation in flight, until the time is up.
class callback_loop {
 public:
  callback_loop(store& s, tree& t, const work& w)
      : store_(s), tree_(t), work_(w), slots_(w.in_flight) {}

  outcome run() {
    const std::uint64_t begin = now_ns();
    end_ns_ = begin + work_.duration_ns;
    live_ = work_.in_flight;
    for (slot& s : slots_) {
      s.loop = this;
      s.found.reserve(value_bytes);
      launch(s, now_ns());
    }
    while (live_ != 0) pump(store_);
    result_.elapsed_ns = now_ns() - begin;
    return std::move(result_);
  }

 private:
  struct slot {
    callback_loop* loop = nullptr;
    std::uint64_t started_ns = 0;
    std::uint32_t id = 0;
    key_text key;
    value_text value;
    std::string found;
    alignas(operation) std::byte room[sizeof(operation)];
    operation* op = nullptr;
  };

  void launch(slot& s, std::uint64_t at) {
    s.id = work_.ids[next_++ % work_.ids.size()];
    s.started_ns = at;
    make_key(s.id, work_.what == activity::READ_MISSING, s.key);
    if (work_.what == activity::DURABLE_PUT) {
      make_value(s.id, next_, s.value);
      s.op = ::new (s.room) operation(tree_.upsert(s.key.view(), s.value.view()));
    } else {
      s.op = ::new (s.room) operation(tree_.get(s.key.view(), s.found));
    }
    s.op->start(&on_done, &s);
  }

  static void on_done(operation& op, void* datum) {
    slot& s = *static_cast<slot*>(datum);
    callback_loop& self = *s.loop;
    if (self.work_.what == activity::READ_MISSING) {
      if (op.result().what() != category::not_found) die("pleach: a missing key was found");
    } else {
      check(op.result(), "operation");
      if (self.work_.what == activity::READ && !value_is_of(s.found, s.id))
        die("pleach: wrong value");
    }
    op.~operation();
    const std::uint64_t now = now_ns();
    self.result_.latency.record(now - s.started_ns);
    ++self.result_.operations;
    if (now < self.end_ns_)
      self.launch(s, now);
    else
      --self.live_;
  }

  store& store_;
  tree& tree_;
  const work& work_;
  std::vector<slot> slots_;
  outcome result_;
  std::uint64_t end_ns_ = 0, next_ = 0;
  unsigned live_ = 0;
};

class pleach_engine final : public engine {
 public:
  bool asynchronous() const override { return true; }
  bool supports(activity, const engine_options&) const override { return true; }

  void create(const engine_options& options) override {
    close();
    const std::string path = options.dir + "/store.pleach";
    ::unlink(path.c_str());
    format_options f;
    f.size_bytes =
        std::max<std::uint64_t>(1ull << 30, options.records * record_bytes * 5) + options.log_bytes;
    f.log_bytes = options.log_bytes;
    if (auto made = store::format(path, f); !made) die("pleach: format: " + made.error().message);
    open(options);
    check(store_->run(store_->create_tree("bench", {}, tree_)), "create_tree");
  }

  void reopen(const engine_options& options) override {
    close();
    open(options);
    check(store_->run(store_->open_tree("bench", tree_)), "open_tree");
  }

  /// Closing is what writes every page home; the cache is cold afterwards.
  void settle() override { reopen(options_); }

  outcome run(const work& w) override {
    switch (w.what) {
      case activity::FILL:
        return fill(w);
      case activity::READ:
      case activity::READ_MISSING:
        if (w.in_flight == 1 && !w.callbacks) return read_blocking(w);
        return callback_loop(*store_, tree_, w).run();
      case activity::MULTI_GET:
        return multi_get(w);
      case activity::DURABLE_PUT:
        return callback_loop(*store_, tree_, w).run();
      case activity::SCAN_FORWARD:
      case activity::SCAN_BACKWARD:
        return scan_all(w);
      case activity::SCAN_50:
        return scan_50(w);
    }
    return {};
  }

  std::string stats() const override { return store_->stats_text(); }

 private:
  void open(const engine_options& options) {
    options_ = options;
    open_options o;
    o.cache_bytes = options.cache_bytes;
    auto opened = store::open(options.dir + "/store.pleach", o);
    if (!opened) die("pleach: open: " + opened.error().message);
    store_.emplace(std::move(*opened));
  }

  void close() {
    tree_ = {};
    if (!store_) return;
    if (auto closed = store_->close(); !closed) die("pleach: close: " + closed.error().message);
    store_.reset();
  }

  outcome fill(const work& w) {
    outcome result;
    batch changes(*store_);
    key_text key;
    value_text value;
    const std::uint64_t begin = now_ns();
    std::uint64_t before = begin;
    for (std::size_t i = 0; i < w.ids.size();) {
      changes.clear();
      for (std::uint32_t n = 0; n < w.batch_records && i < w.ids.size(); ++n, ++i) {
        make_key(w.ids[i], false, key);
        make_value(w.ids[i], 0, value);
        changes.upsert(tree_, key.view(), value.view());
      }
      check(store_->run(changes.commit(durability::ordered)), "commit");
      const std::uint64_t now = now_ns();
      result.latency.record(now - before);
      before = now;
    }
    result.operations = w.ids.size();
    result.elapsed_ns = now_ns() - begin;
    return result;
  }

  outcome read_blocking(const work& w) {
    outcome result;
    key_text key;
    std::string value;
    const bool missing = w.what == activity::READ_MISSING;
    const std::uint64_t begin = now_ns(), end = begin + w.duration_ns;
    std::uint64_t before = begin;
    for (std::size_t i = 0; before < end; ++i) {
      const std::uint32_t id = w.ids[i % w.ids.size()];
      make_key(id, missing, key);
      const answer a = store_->run(tree_.get(key.view(), value));
      if (missing) {
        if (a.what() != category::not_found) die("pleach: a missing key was found");
      } else {
        check(a, "get");
        if (!value_is_of(value, id)) die("pleach: wrong value");
      }
      const std::uint64_t now = now_ns();
      result.latency.record(now - before);
      before = now;
      ++result.operations;
    }
    result.elapsed_ns = before - begin;
    return result;
  }

  outcome multi_get(const work& w) {
    outcome result;
    std::vector<key_text> keys(w.in_flight);
    std::vector<std::string> values(w.in_flight);
    std::vector<lookup> lookups(w.in_flight);
    const std::uint64_t begin = now_ns(), end = begin + w.duration_ns;
    std::uint64_t before = begin;
    for (std::size_t i = 0; before < end; i += w.in_flight) {
      for (unsigned k = 0; k < w.in_flight; ++k) {
        make_key(w.ids[(i + k) % w.ids.size()], false, keys[k]);
        lookups[k] = {keys[k].view(), &values[k], {}};
      }
      check(store_->run(tree_.multi_get(lookups)), "multi_get");
      for (unsigned k = 0; k < w.in_flight; ++k) {
        check(lookups[k].result, "lookup");
        if (!value_is_of(values[k], w.ids[(i + k) % w.ids.size()])) die("pleach: wrong value");
      }
      const std::uint64_t now = now_ns();
      for (unsigned k = 0; k < w.in_flight; ++k)
        result.latency.record((now - before) / w.in_flight);
      before = now;
      result.operations += w.in_flight;
    }
    result.elapsed_ns = before - begin;
    return result;
  }

  outcome scan_all(const work& w) {
    outcome result;
    const bool forward = w.what == activity::SCAN_FORWARD;
    const std::uint64_t begin = now_ns();
    std::uint64_t bytes = 0;
    do {
      cursor c(tree_);
      answer a = store_->run(forward ? c.first() : c.last());
      std::uint64_t records = 0;
      while (a) {
        bytes += c.key().size() + c.value().size();
        ++records;
        if (forward ? !c.try_next() : !c.try_prev())
          a = forward ? store_->run(c.next()) : store_->run(c.prev());
      }
      if (a.what() != category::not_found) check(a, "scan");
      if (records != tree_.record_count()) die("pleach: a scan gave the wrong number of records");
      result.operations += records;
      result.elapsed_ns = now_ns() - begin;
    } while (result.elapsed_ns < w.duration_ns);
    if (bytes != result.operations * record_bytes) die("pleach: a scan gave wrong records");
    return result;
  }

  outcome scan_50(const work& w) {
    outcome result;
    key_text key;
    std::uint64_t bytes = 0;
    cursor c(tree_);
    const std::uint64_t begin = now_ns(), end = begin + w.duration_ns;
    std::uint64_t before = begin;
    for (std::size_t i = 0; before < end; ++i) {
      make_key(w.ids[i % w.ids.size()], false, key);
      answer a = store_->run(c.seek(key.view()));
      check(a, "seek");
      for (unsigned n = 0; n < 50 && a; ++n) {
        bytes += c.key().size() + c.value().size();
        if (!c.try_next()) a = store_->run(c.next());
      }
      const std::uint64_t now = now_ns();
      result.latency.record(now - before);
      before = now;
      ++result.operations;
    }
    result.elapsed_ns = before - begin;
    if (bytes == 0) die("pleach: scans gave nothing");
    return result;
  }

  engine_options options_;
  std::optional<store> store_;
  tree tree_;
};

}  // namespace

std::unique_ptr<engine> make_pleach_engine() {
  return std::make_unique<pleach_engine>();
}

}  // namespace pleach::bench
