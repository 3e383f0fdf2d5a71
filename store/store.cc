// The public store: format, open, close, the event loop, commits. Trees are in trees.cc.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>

#include "be/io/inspect.hh"
#include "store/state.hh"
#include "store/wait_op.hh"

namespace pleach {

using internal::body;
using internal::live;
using internal::operation_access;
using internal::refuse;
using internal::store_state;
using store_layer::core;

namespace internal {
error public_error(const store_layer::trouble& t) {
  return {static_cast<u32>(t.code), t.message};
}

store operation_access::make_store(std::shared_ptr<store_state> s) {
  store made;
  made.state_ = std::move(s);
  return made;
}
}  // namespace internal

namespace {

std::string advice(errc e) {
  switch (e) {
    case errc::no_file:
      return "make it with mkfs";
    case errc::file_exists:
      return "choose another name, or force";
    case errc::already_open:
      return "close the other program, or open read-only beside other readers";
    case errc::mounted:
      return "unmount it, or force if its content is not needed";
    case errc::read_only:
      return "open it read-only, or make it writable";
    case errc::device_full:
      return "free space on the file system below";
    case errc::not_a_store:
      return "name a file or device made by mkfs";
    default:
      return "see the system's log";
  }
}

std::unexpected<error> refuse_path(const std::string& what, const std::string& path, errc e) {
  return refuse(e, fmt::format("{} {}: {}; {}", what, path, sentence_of(e), advice(e)));
}

std::function<void(u64, u64)>* format_progress = nullptr;  // format is blocking; one at a time

// What a new store in a file replaces. Only a regular file is ever replaced, and never under a
// program that has it open as a store: the lock is held until the new file stands in its place.
class file_replacement {
 public:
  explicit file_replacement(std::string path) : path_(std::move(path)), place_(path_) {}
  file_replacement(const file_replacement&) = delete;
  file_replacement& operator=(const file_replacement&) = delete;
  ~file_replacement() {
    if (fd_ >= 0) ::close(fd_);
  }

  // The file that a link leads to: that one is replaced, not the link.
  const std::string& place() const { return place_; }

  std::expected<void, error> claim(bool force) {
    struct stat at = {};
    if (::lstat(path_.c_str(), &at) != 0) return {};
    if (!force) return refuse_path("formatting", path_, errc::file_exists);
    if (S_ISLNK(at.st_mode)) {
      char* real = ::realpath(path_.c_str(), nullptr);
      if (real == nullptr || ::stat(path_.c_str(), &at) != 0) {
        ::free(real);
        return refuse(errc::no_file,
                      fmt::format("formatting {}: the link leads nowhere; remove it", path_));
      }
      place_ = real;
      ::free(real);
    }
    if (!S_ISREG(at.st_mode))
      return refuse(
          errc::file_exists,
          fmt::format(
              "formatting {}: it is no regular file and no block device, and is left as it was; "
              "choose another name",
              path_));
    return lock();
  }

 private:
  std::expected<void, error> lock() {
    fd_ = ::open(place_.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0) return refuse_path("formatting", path_, errc::read_only);
    constexpr int tries = 100, pause_us = 10'000;  // a second: the lock of a killed program lingers
    for (int i = 0; ::flock(fd_, LOCK_EX | LOCK_NB) != 0; ++i) {
      if (errno != EWOULDBLOCK) return {};  // a file system without locks: no store is open there
      if (i == tries) return refuse_path("formatting", path_, errc::already_open);
      ::usleep(pause_us);
    }
    return {};
  }

  std::string path_, place_;
  int fd_ = -1;
};

}  // namespace

// --- format, open, close ---

std::expected<void, error> store::format(const std::string& path, const format_options& o) {
  sm::environment& env = sm::system_environment();
  bool block_device = io::is_block_device(path);
  if (block_device && !o.force) {
    if (io::is_mounted(path)) return refuse_path("formatting", path, errc::mounted);
    result<bool> data = io::holds_data(path);
    if (!data) return refuse_path("formatting", path, data.error());
    if (*data)
      return refuse(errc::mounted,
                    fmt::format("formatting {}: the device holds data or a signature; "
                                "force if that is not needed",
                                path));
  }
  if (o.max_node_bytes < least_max_node_bytes)
    return refuse(errc::bad_argument,
                  fmt::format("formatting {}: the largest node has at least {} bytes, so that keys "
                              "of 1 KiB can be divided",
                              path, least_max_node_bytes));
  file_replacement target(path);
  if (!block_device) {
    if (auto free = target.claim(o.force); !free) return free;
  }
  u64 size = o.size_bytes ? o.size_bytes / block_bytes * block_bytes : default_store_bytes;
  // Refuse an impossible size before anything is made.
  if (!block_device) {
    result<geometry> g = plan_geometry(size, o.log_bytes, o.max_node_bytes / block_bytes);
    if (!g)
      return refuse(g.error(),
                    fmt::format("formatting {}: {} for a store: size {} bytes, log {} bytes; "
                                "a store has at least {} bytes and a log of at most half of it",
                                path, sentence_of(g.error()), size, o.log_bytes,
                                min_volume_blocks * block_bytes));
  }
  // A file is made beside and renamed when it is whole: a failed mkfs leaves what was there.
  std::string made = block_device ? path : target.place() + ".mkfs-" + std::to_string(::getpid());
  io::open_options oo;
  oo.create = !block_device;
  oo.create_bytes = block_device ? 0 : size;
  if (!block_device) ::unlink(made.c_str());
  auto dev = io::open_device(made, oo, env);
  if (!dev) {
    if (!block_device) ::unlink(made.c_str());
    if (dev.error() == errc::no_file)
      return refuse(errc::no_file,
                    fmt::format("formatting {}: its folder does not exist; make it first", path));
    if (dev.error() == errc::mounted)
      return refuse(errc::mounted, fmt::format("formatting {}: {}; unmount it first", path,
                                               sentence_of(errc::mounted)));
    return refuse_path("formatting", path, dev.error());
  }
  auto give_up = [&](errc code, std::string message) {
    dev->reset();
    if (!block_device) ::unlink(made.c_str());
    return refuse(code, std::move(message));
  };
  if (block_device && o.size_bytes > (*dev)->size())
    return give_up(
        errc::too_small,
        fmt::format("formatting {}: the device is too small: it has {} bytes, {} were asked for",
                    path, (*dev)->size(), o.size_bytes));
  store_layer::format_spec spec;
  if (block_device && o.size_bytes) spec.size_bytes = size;
  spec.log_bytes = o.log_bytes;
  spec.max_node_blocks = o.max_node_bytes / block_bytes;
  if (getrandom(spec.uuid, sizeof spec.uuid, 0) != sizeof spec.uuid)
    return give_up(errc::io, fmt::format("formatting {}: no random bytes for its identity", path));
  std::function<void(u64, u64)> progress = o.progress;
  format_progress = &progress;
  if (o.progress) spec.progress = [](u64 done, u64 total) { (*format_progress)(done, total); };
  auto done = core::format(env, **dev, spec);
  format_progress = nullptr;
  if (!done)
    return give_up(done.error().code, fmt::format("formatting {}: {}", path, done.error().message));
  dev->reset();
  if (!block_device && ::rename(made.c_str(), target.place().c_str()) != 0) {
    const bool forbidden = errno == EPERM || errno == EACCES;  // the file is immutable
    const errc e = forbidden ? errc::read_only : from_errno(-errno);
    ::unlink(made.c_str());
    return refuse_path("formatting", path, e);
  }
  if (block_device) return {};
  if (int rc = io::sync_folder_of(target.place(), true); rc != 0) {
    ::unlink(target.place().c_str());
    return refuse_path("formatting", path, from_errno(rc));
  }
  return {};
}

namespace {
/// The program's comparators for the core.
std::expected<void, error> register_orders(const open_options& o, store_layer::core_options& to) {
  for (const comparator& c : o.comparators) {
    const bool sound = !c.name.empty() && c.name.size() <= btree::max_comparator_name_bytes &&
                       c.name.find('\0') == std::string::npos && c.compare != nullptr;
    if (!sound || !to.orders.emplace(c.name, btree::registered_order{c.compare, c.datum}).second)
      return refuse(errc::bad_argument,
                    fmt::format("registering comparator \"{}\": a name has 1 to {} bytes, none of "
                                "them zero, stands once, and has a function",
                                c.name, btree::max_comparator_name_bytes));
  }
  return {};
}
}  // namespace

std::expected<store, error> store::open(const std::string& path, const open_options& o) {
  sm::environment& env = sm::system_environment();
  store_layer::core_options co;
  if (auto known = register_orders(o, co); !known) return std::unexpected(known.error());
  io::open_options oo;
  oo.kind = internal::backend_of(o.device);
  oo.read_only = o.read_only;
  auto dev = io::open_device(path, oo, env);
  if (!dev) return refuse_path("opening", path, dev.error());
  auto s = std::make_shared<store_state>();
  s->path = path;
  co.cache_bytes = o.cache_bytes;
  co.read_only = o.read_only;
  auto c = core::open(env, std::move(*dev), co, path);
  if (!c) return std::unexpected(internal::public_error(c.error()));
  s->c = std::move(*c);
  return operation_access::make_store(std::move(s));
}

std::expected<store, error> store::open_memory(std::uint64_t size_bytes, const open_options& o) {
  sm::environment& env = sm::system_environment();
  store_layer::core_options co;
  if (auto known = register_orders(o, co); !known) return std::unexpected(known.error());
  auto dev = io::make_memory_device(size_bytes / block_bytes * block_bytes);
  store_layer::format_spec spec;
  spec.log_bytes = std::min<u64>(64ull << 20, std::max<u64>(size_bytes / 8, 1 << 20));
  if (getrandom(spec.uuid, sizeof spec.uuid, 0) != sizeof spec.uuid)
    return refuse(errc::io, "opening a store in memory: no random bytes");
  if (auto f = core::format(env, *dev, spec); !f)
    return std::unexpected(internal::public_error(f.error()));
  auto s = std::make_shared<store_state>();
  s->path = "(memory)";
  co.cache_bytes = o.cache_bytes;
  auto c = core::open(env, std::move(dev), co, s->path);
  if (!c) return std::unexpected(internal::public_error(c.error()));
  s->c = std::move(*c);
  return operation_access::make_store(std::move(s));
}

store::store() = default;
store::store(store&&) noexcept = default;
store& store::operator=(store&& other) noexcept {
  if (this != &other) {
    end();
    state_ = std::move(other.state_);
  }
  return *this;
}
store::~store() {
  end();
}

namespace {
/// Stores that could not be closed where they were destroyed (on another thread, in a forked child,
/// in a callback), which cannot be taken down there either: kept until the process ends.
struct left_behind {
  std::shared_ptr<core> store;
  left_behind* next;
};
std::atomic<left_behind*> all_left_behind{nullptr};
}  // namespace

void store::end() noexcept {
  if (!state_) return;
  (void)close();
  if (!live(state_.get())) return;
  auto* kept = new left_behind{state_->c, all_left_behind.load()};
  while (!all_left_behind.compare_exchange_weak(kept->next, kept)) {
  }
}

std::expected<void, error> store::close() {
  if (!live(state_.get())) return {};
  store_state& s = *state_;
  if (errc e = s.check_caller(); !is_ok(e))
    return refuse(e, fmt::format("closing {}: {}", s.path, sentence_of(e)));
  if (s.c->loop.in_callback())
    return refuse(errc::invalid, fmt::format("closing {}: not allowed inside a callback", s.path));
  // Callbacks of what is in flight may start more, without end: that is refused.
  s.closing = true;
  (void)s.c->loop.run_while([](void* p) { return static_cast<store_state*>(p)->in_flight != 0; },
                            &s);
  auto done = s.c->close();
  if (!done) return std::unexpected(internal::public_error(done.error()));
  return {};
}

// --- the event loop ---

int store::event_fd() const {
  return state_->c->loop.event_fd();
}

std::expected<unsigned, answer> store::poll() {
  store_state& s = *state_;
  auto bad = [](errc e) { return std::unexpected<answer>(answer{static_cast<u32>(e), 0, 0}); };
  if (errc e = s.check_caller(); !is_ok(e)) return bad(e);
  result<u32> n = s.c->loop.poll();
  if (!n) return bad(n.error());
  return *n;
}

std::int64_t store::next_timeout_ns() {
  return state_->c && !state_->c->closed ? state_->c->loop.next_timeout_ns() : -1;
}

answer store::run(operation& op) {
  store_state& s = *state_;
  if (s.c && !s.c->closed && s.c->loop.in_callback())
    return answer{static_cast<u32>(errc::invalid), 0, 0};
  if (operation_access::store_of(op) && operation_access::store_of(op) != &s)
    return answer{static_cast<u32>(errc::bad_argument), 0, 0};
  if (!is_ok(operation_access::begin(op))) return op.result();
  // No callback face: the engine's op is driven directly, and finished here.
  sm::op& o = operation_access::body_of(op).engine_op();
  s.c->loop.start(o);
  status ran = s.c->loop.run_until(o);
  PLEACH_ASSERT(ran.has_value());  // `begin` has checked the caller
  operation_access::end(op);
  return op.result();
}

void store::post(std::function<void()> fn) {
  struct letter : sm::mail {
    std::function<void()> call;
    core* to;
  };
  auto* m = new letter;
  m->call = std::move(fn);
  m->to = state_->c.get();
  m->fn = [](sm::mail& arrived) {
    auto* l = static_cast<letter*>(&arrived);
    try {
      l->call();
    } catch (...) {
      ++l->to->callbacks_failed;
    }
    delete l;
  };
  state_->c->loop.post(*m);
}

// --- commits ---

namespace {

class wait_body final : public body {
 public:
  store_layer::wait_op op;
  sm::op& engine_op() override { return op; }
};

}  // namespace

operation store::wait(std::uint64_t lsn, watermark w) {
  store_state* s = state_.get();
  if (!live(s)) return operation_access::refuse(s, errc::tree_closed);
  auto mark = w == watermark::visible   ? txn::watermark::VISIBLE
              : w == watermark::durable ? txn::watermark::DURABLE
                                        : txn::watermark::PLACED;
  return operation_access::with<wait_body>(
      s, [&](wait_body& b) { b.op.prepare(*s->c->engine, lsn, mark); });
}

operation store::flush() {
  return wait(0, watermark::durable);
}

// --- the volume ---

std::expected<void, error> store::grow(std::uint64_t new_size_bytes) {
  store_state& s = *state_;
  if (errc e = s.check_blocking(); !is_ok(e))
    return refuse(e, fmt::format("growing {}: {}", s.path, sentence_of(e)));
  if (s.c->options.read_only)
    return refuse(errc::read_only, fmt::format("growing {}: opened read-only", s.path));
  auto done = s.c->grow(new_size_bytes / block_bytes * block_bytes);
  if (!done) return std::unexpected(internal::public_error(done.error()));
  return {};
}

std::uint64_t store::size_bytes() const {
  return u64{state_->c->vol.super.blocks} * block_bytes;
}

pleach::limits store::limits() const {
  const core& c = *state_->c;
  pleach::limits l;
  l.key_bytes = btree::max_key_bytes;
  l.tree_name_bytes = btree::max_tree_name_bytes;
  l.node_bytes = c.vol.super.max_node_blocks * block_bytes;
  l.value_bytes = btree::max_value_bytes;
  l.transaction_pages = c.closed ? 0 : c.pages->grantable_units() / 4 * 3;
  l.transaction_log_bytes = c.closed ? 0 : c.engine->largest_credit();
  l.transaction_records = internal::max_batch_records;
  return l;
}

const std::string& store::recovery_text() const {
  return state_->c->recovery;
}

const char* version() {
  return "0.1.0";
}

}  // namespace pleach
