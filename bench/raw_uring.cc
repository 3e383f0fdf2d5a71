// The ceiling: what one thread gets from io_uring with no store at all. A read is one O_DIRECT read
// of a page whose address is known (a perfect index, no cache); a durable put is a 256-byte record
// in a log of which one write is in flight, and everything that arrived meanwhile goes into the
// next write.
//
// Registered file and buffers, SINGLE_ISSUER and DEFER_TASKRUN: the fastest set-up measured.
#include <fcntl.h>
#include <fmt/format.h>
#include <liburing.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "bench/engine.hh"
#include "bench/process_counters.hh"
#include "bench/workload.hh"

namespace pleach::bench {
namespace {

constexpr std::size_t block = 1 << 20;
constexpr std::uint64_t page_load =
    145;  ///< bytes of page that one record takes in a store of this kind
constexpr std::uint64_t log_bytes = 64 << 20;
constexpr std::size_t log_record_bytes = 256;

void must(long rc, const char* what) {
  if (rc < 0)
    die(fmt::format("raw: {}: {}", what, std::strerror(static_cast<int>(rc == -1 ? errno : -rc))));
}

class raw_engine final : public engine {
 public:
  ~raw_engine() override { release(); }

  bool supports(activity what, const engine_options& options) const override {
    return ((what == activity::READ || what == activity::SCAN_FORWARD) && options.cold) ||
           (what == activity::DURABLE_PUT && !options.cold);
  }

  /// Writes the file in full: unwritten extents would answer reads without the device.
  void create(const engine_options& options) override {
    release();
    const std::string path = options.dir + "/raw.bin";
    fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0600);
    must(fd_, "open");
    size_ = options.cold ? (options.records * page_load + block - 1) / block * block : log_bytes;
    buffer_ = static_cast<std::byte*>(std::aligned_alloc(4096, block));
    if (!buffer_) die("raw: no memory");
    for (std::size_t i = 0; i < block; i += 8) {
      const std::uint64_t word = mix64(i);
      std::memcpy(buffer_ + i, &word, 8);
    }
    for (std::uint64_t at = 0; at < size_; at += block)
      must(::pwrite(fd_, buffer_, block, static_cast<off_t>(at)), "write");
    must(::fsync(fd_), "fsync");
  }

  void reopen(const engine_options&) override {}
  void settle() override {}

  outcome run(const work& w) override {
    return w.what == activity::DURABLE_PUT ? append(w) : read(w);
  }

 private:
  void release() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
    std::free(buffer_);
    buffer_ = nullptr;
  }

  void open_ring(io_uring& ring, unsigned depth, std::byte* memory, std::size_t bytes) {
    must(io_uring_queue_init(depth, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN),
         "io_uring_queue_init");
    must(io_uring_register_files(&ring, &fd_, 1), "register file");
    const iovec all{memory, bytes};
    must(io_uring_register_buffers(&ring, &all, 1), "register buffer");
  }

  outcome read(const work& w) {
    const std::size_t page = w.page_bytes;
    const std::uint64_t pages = size_ / page;
    auto* memory = static_cast<std::byte*>(std::aligned_alloc(4096, page * w.in_flight));
    if (!memory) die("raw: no memory");
    io_uring ring{};
    open_ring(ring, w.in_flight, memory, page * w.in_flight);

    outcome result;
    std::vector<std::uint64_t> started(w.in_flight);
    std::size_t next = 0;
    const auto launch = [&](std::size_t slot, std::uint64_t at) {
      const std::uint64_t n = next++;
      const std::uint64_t at_page = w.what == activity::SCAN_FORWARD
                                        ? n % pages
                                        : w.ids[n % w.ids.size()] * page_load / page % pages;
      io_uring_sqe* sqe = io_uring_get_sqe(&ring);
      io_uring_prep_read_fixed(sqe, 0, memory + slot * page, static_cast<unsigned>(page),
                               at_page * page, 0);
      io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
      io_uring_sqe_set_data64(sqe, slot);
      started[slot] = at;
    };
    const std::uint64_t begin = now_ns(), end = begin + w.duration_ns;
    for (std::size_t slot = 0; slot < w.in_flight; ++slot) launch(slot, begin);
    for (unsigned live = w.in_flight; live != 0;) {
      must(io_uring_submit_and_wait(&ring, 1), "submit");
      const std::uint64_t now = now_ns();
      unsigned head = 0, seen = 0;
      io_uring_cqe* cqe = nullptr;
      io_uring_for_each_cqe(&ring, head, cqe) {
        ++seen;
        if (cqe->res != static_cast<int>(page)) die("raw: short read");
        const std::size_t slot = io_uring_cqe_get_data64(cqe);
        result.latency.record(now - started[slot]);
        ++result.operations;
        if (now < end)
          launch(slot, now);
        else
          --live;
      }
      io_uring_cq_advance(&ring, seen);
    }
    result.elapsed_ns = now_ns() - begin;
    io_uring_queue_exit(&ring);
    std::free(memory);
    return result;
  }

  /// `in_flight` clients that put again as soon as they are answered: each write carries all of
  /// them.
  outcome append(const work& w) {
    const std::size_t bytes = (w.in_flight * log_record_bytes + 4095) / 4096 * 4096;
    io_uring ring{};
    open_ring(ring, 4, buffer_, block);
    outcome result;
    std::uint64_t at = 0;
    const std::uint64_t begin = now_ns(), end = begin + w.duration_ns;
    for (std::uint64_t before = begin; before < end;) {
      for (unsigned n = 0; n < w.in_flight; ++n) {
        value_text value;
        make_value(w.ids[(result.operations + n) % w.ids.size()], at, value);
        std::memcpy(buffer_ + n * log_record_bytes, value.bytes.data(), value_bytes);
      }
      io_uring_sqe* sqe = io_uring_get_sqe(&ring);
      io_uring_prep_write_fixed(sqe, 0, buffer_, static_cast<unsigned>(bytes), at, 0);
      sqe->rw_flags = RWF_DSYNC;
      io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
      must(io_uring_submit_and_wait(&ring, 1), "submit");
      io_uring_cqe* cqe = nullptr;
      must(io_uring_peek_cqe(&ring, &cqe), "completion");
      must(cqe->res, "write");
      io_uring_cqe_seen(&ring, cqe);
      at = (at + bytes) % (log_bytes - block);
      at -= at % 4096;
      const std::uint64_t now = now_ns();
      for (unsigned n = 0; n < w.in_flight; ++n) result.latency.record(now - before);
      result.operations += w.in_flight;
      before = now;
      result.elapsed_ns = now - begin;
    }
    io_uring_queue_exit(&ring);
    return result;
  }

  int fd_ = -1;
  std::uint64_t size_ = 0;
  std::byte* buffer_ = nullptr;
};

}  // namespace

std::unique_ptr<engine> make_raw_engine() {
  return std::make_unique<raw_engine>();
}

}  // namespace pleach::bench
