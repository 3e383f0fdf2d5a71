// Proves, from outside: a process that loads, reads back, scans and checks data of twenty times its
// cache stays within cache + 24 MiB.
#include <fstream>

#include "tests/store/support.hh"

using namespace store_test;

namespace {

constexpr u64 cache = 8 * mib;
constexpr u64 data = 160 * mib;
constexpr u64 value_bytes = 600;
constexpr u64 records = data / (value_bytes + 16);

std::string key_of(u64 i) {
  char text[24];
  // Runs of neighbours at places in no order: a batch touches few leaves, batches touch all.
  std::snprintf(text, sizeof text, "%012llx%04llx",
                static_cast<unsigned long long>((i / 20 * 0x9e3779b97f4a7c15u) >> 16),
                static_cast<unsigned long long>(i % 20));
  return text;
}

/// Peak resident memory of this process, bytes.
u64 peak() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line))
    if (line.starts_with("VmHWM:")) return std::strtoull(line.c_str() + 6, nullptr, 10) * 1024;
  return 0;
}

enum failure { NONE, LOAD, READ, SCAN, CHECK, CLOSE, MEMORY, OPEN, STREAM };

constexpr u64 stream_bytes = 64 * mib, piece_bytes = 300'000;

/// One value of 64 MiB, eight times the cache, written and read piece by piece.
bool stream(pleach::store& s, pleach::tree& t, bool write) {
  if (write) {
    pleach::value_writer w(t, "streamed");
    for (u64 at = 0; at < stream_bytes; at += piece_bytes) {
      std::string piece = bytes_of(at, std::min(piece_bytes, stream_bytes - at));
      if (!s.run(w.write(piece)).ok()) return false;
    }
    if (!s.run(w.commit()).ok()) return false;
  }
  pleach::value_reader r(t, "streamed");
  std::string piece(piece_bytes, '\0');
  for (u64 at = 0; at < stream_bytes; at += piece_bytes) {
    std::size_t got = 0;
    if (!s.run(r.read(at, piece, got)).ok()) return false;
    if (piece.substr(0, got) != bytes_of(at, std::min(piece_bytes, stream_bytes - at)))
      return false;
  }
  return r.size() == stream_bytes;
}

int child(const std::string& path, bool load) {
  pleach::open_options o;
  o.cache_bytes = cache;
  o.read_only = !load;
  auto opened = pleach::store::open(path, o);
  if (!opened) return OPEN;
  pleach::store& s = *opened;
  pleach::tree t;
  if (load) {
    if (!s.run(s.create_tree("t", {16384}, t)).ok()) return LOAD;
    pleach::batch b(s);
    for (u64 i = 0; i < records;) {
      b.clear();
      for (int n = 0; n < 20 && i < records; ++n, ++i)
        b.upsert(t, key_of(i), bytes_of(i, value_bytes));
      pleach::answer a = s.run(b.commit(pleach::durability::ordered));
      if (!a.ok()) return std::fprintf(stderr, "load: %s\n", a.text().c_str()), LOAD;
    }
    // Some large values too.
    for (u64 i = 0; i < 20; ++i)
      if (!s.run(t.upsert("large" + std::to_string(i), bytes_of(i, 1 << 20),
                          pleach::durability::ordered))
               .ok())
        return LOAD;
  } else {
    if (!s.run(s.open_tree("t", t)).ok()) return OPEN;
  }
  pleach::tree large;
  pleach::answer made = load ? s.run(s.create_tree("large", {16384}, large))
                             : s.run(s.open_tree("large", large));
  if (!made.ok() || !stream(s, large, load)) return STREAM;
  std::string v;
  for (u64 i = 0; i < records; i += 41) {
    if (!s.run(t.get(key_of(i), v)).ok() || v != bytes_of(i, value_bytes)) return READ;
  }
  if (!load) {
    pleach::cursor c(t);
    u64 count = 0;
    pleach::answer a = s.run(c.first());
    while (a.ok()) {
      ++count;
      if (!c.try_next()) a = s.run(c.next());
    }
    if (count != records + 20) return SCAN;
  }
  auto r = s.check({});
  if (!r || !r->clean || r->records < records) return CHECK;
  if (!s.close()) return CLOSE;
  std::fprintf(stderr, "peak of %s: %llu KiB\n", load ? "load" : "read",
               static_cast<unsigned long long>(peak() / 1024));
  return peak() <= cache + 24 * mib ? NONE : MEMORY;
}

}  // namespace

DOCTEST_TEST_CASE("data of twenty times the cache") {
  scratch_file f("memory");
  format(f.path, 600 * mib, 16 * mib);
  // A process of its own each: fork alone would inherit this one's peak.
  for (const char* mode : {"load", "read"}) {
    std::fflush(nullptr);
    pid_t pid = ::fork();
    DOCTEST_REQUIRE(pid >= 0);
    if (pid == 0) {
      ::setenv("PLEACH_MEMORY_CHILD", mode, 1);
      ::setenv("PLEACH_MEMORY_PATH", f.path.c_str(), 1);
      ::execl("/proc/self/exe", "memory_test", "--test-case=child", "--no-skip", "--no-version",
              nullptr);
      ::_exit(127);
    }
    int status = 0;
    DOCTEST_REQUIRE(::waitpid(pid, &status, 0) == pid);
    DOCTEST_REQUIRE(WIFEXITED(status));
    DOCTEST_CHECK_MESSAGE(WEXITSTATUS(status) == NONE, mode);
  }
}

DOCTEST_TEST_CASE("child" * doctest::skip()) {
  const char* mode = std::getenv("PLEACH_MEMORY_CHILD");
  if (mode == nullptr) return;
  ::_exit(child(std::getenv("PLEACH_MEMORY_PATH"), std::string(mode) == "load"));
}
