// LMDB under test: MDB_NOTLS, no WRITEMAP; MDB_NOSYNC except where commits are to be durable. A get
// renews and resets its read transaction, and copies the value out, as the other engines do. In the
// cache only: the page cache is LMDB's cache, and a benchmark process cannot bound it.
#ifdef PLEACH_BENCH_LMDB
#include <fmt/format.h>
#include <lmdb.h>
#include <unistd.h>

#include <utility>

#include "bench/process_counters.hh"
#include "bench/thread_driver.hh"
#include "bench/workload.hh"
#endif

#include "bench/engine.hh"

namespace pleach::bench {

#ifndef PLEACH_BENCH_LMDB
std::unique_ptr<engine> make_lmdb_engine() {
  return nullptr;
}
#else

namespace {

void must(int rc, const char* what) {
  if (rc != 0) die(fmt::format("lmdb: {}: {}", what, mdb_strerror(rc)));
}

MDB_val val(std::string_view s) {
  return {s.size(), const_cast<char*>(s.data())};
}
std::string_view text(const MDB_val& v) {
  return {static_cast<const char*>(v.mv_data), v.mv_size};
}

/// A read transaction that is renewed for each use.
class reader {
 public:
  explicit reader(MDB_env* env) {
    must(mdb_txn_begin(env, nullptr, MDB_RDONLY, &txn_), "begin");
    mdb_txn_reset(txn_);
  }
  reader(reader&& other) noexcept : txn_(std::exchange(other.txn_, nullptr)) {}
  ~reader() {
    if (txn_) mdb_txn_abort(txn_);
  }
  MDB_txn* renew() {
    must(mdb_txn_renew(txn_), "renew");
    return txn_;
  }
  void reset() { mdb_txn_reset(txn_); }

 private:
  MDB_txn* txn_ = nullptr;
};

class lmdb_engine final : public engine {
 public:
  ~lmdb_engine() override { close(); }

  bool supports(activity what, const engine_options& options) const override {
    return !options.cold && what != activity::MULTI_GET;
  }

  void create(const engine_options& options) override {
    close();
    ::unlink((options.dir + "/data.mdb").c_str());
    ::unlink((options.dir + "/lock.mdb").c_str());
    open(options);
  }

  void reopen(const engine_options& options) override {
    settle();
    close();
    open(options);
  }

  void settle() override { must(mdb_env_sync(env_, 1), "sync"); }

  outcome run(const work& w) override {
    switch (w.what) {
      case activity::FILL:
        return fill(w);
      case activity::READ:
      case activity::READ_MISSING:
        return read(w);
      case activity::DURABLE_PUT:
        return put(w);
      case activity::SCAN_FORWARD:
      case activity::SCAN_BACKWARD:
        return scan_all(w);
      case activity::MULTI_GET:  // it has none
        break;
      case activity::SCAN_50:
        return scan_50(w);
    }
    return {};
  }

 private:
  void open(const engine_options& options) {
    must(mdb_env_create(&env_), "create");
    must(mdb_env_set_mapsize(env_, std::max<std::size_t>(4ull << 30, options.records * 1024)),
         "mapsize");
    must(mdb_env_open(env_, options.dir.c_str(), MDB_NOTLS | (options.durable ? 0u : MDB_NOSYNC),
                      0600),
         "open");
    MDB_txn* txn = nullptr;
    must(mdb_txn_begin(env_, nullptr, 0, &txn), "begin");
    must(mdb_dbi_open(txn, nullptr, 0, &dbi_), "dbi");
    must(mdb_txn_commit(txn), "commit");
  }

  void close() {
    if (env_) mdb_env_close(env_);
    env_ = nullptr;
  }

  outcome fill(const work& w) {
    outcome result;
    key_text key;
    value_text value;
    const std::uint64_t begin = now_ns();
    std::uint64_t before = begin;
    for (std::size_t i = 0; i < w.ids.size();) {
      MDB_txn* txn = nullptr;
      must(mdb_txn_begin(env_, nullptr, 0, &txn), "begin");
      for (std::uint32_t n = 0; n < w.batch_records && i < w.ids.size(); ++n, ++i) {
        make_key(w.ids[i], false, key);
        make_value(w.ids[i], 0, value);
        MDB_val k = val(key.view()), v = val(value.view());
        must(mdb_put(txn, dbi_, &k, &v, 0), "put");
      }
      must(mdb_txn_commit(txn), "commit");
      const std::uint64_t now = now_ns();
      result.latency.record(now - before);
      before = now;
    }
    result.operations = w.ids.size();
    result.elapsed_ns = now_ns() - begin;
    return result;
  }

  outcome read(const work& w) {
    const bool missing = w.what == activity::READ_MISSING;
    return run_threads(w, [&](unsigned) {
      return [this, missing, r = reader(env_), found = std::string()](std::uint32_t id) mutable {
        key_text key;
        make_key(id, missing, key);
        MDB_val k = val(key.view()), v{};
        const int rc = mdb_get(r.renew(), dbi_, &k, &v);
        if (missing) {
          if (rc != MDB_NOTFOUND) die("lmdb: a missing key was found");
        } else {
          must(rc, "get");
          found.assign(text(v));
          if (!value_is_of(found, id)) die("lmdb: wrong value");
        }
        r.reset();
      };
    });
  }

  outcome put(const work& w) {
    return run_threads(w, [&](unsigned t) {
      return [this, version = std::uint64_t{t} << 20](std::uint32_t id) mutable {
        key_text key;
        value_text value;
        make_key(id, false, key);
        make_value(id, ++version, value);
        MDB_txn* txn = nullptr;
        must(mdb_txn_begin(env_, nullptr, 0, &txn), "begin");
        MDB_val k = val(key.view()), v = val(value.view());
        must(mdb_put(txn, dbi_, &k, &v, 0), "put");
        must(mdb_txn_commit(txn), "commit");
      };
    });
  }

  outcome scan_all(const work& w) {
    outcome result;
    const bool forward = w.what == activity::SCAN_FORWARD;
    reader r(env_);
    std::uint64_t bytes = 0;
    const std::uint64_t begin = now_ns();
    do {
      MDB_cursor* cursor = nullptr;
      must(mdb_cursor_open(r.renew(), dbi_, &cursor), "cursor");
      MDB_val k{}, v{};
      int rc = mdb_cursor_get(cursor, &k, &v, forward ? MDB_FIRST : MDB_LAST);
      for (; rc == 0; rc = mdb_cursor_get(cursor, &k, &v, forward ? MDB_NEXT : MDB_PREV)) {
        bytes += k.mv_size + v.mv_size;
        ++result.operations;
      }
      mdb_cursor_close(cursor);
      r.reset();
      result.elapsed_ns = now_ns() - begin;
    } while (result.elapsed_ns < w.duration_ns);
    if (bytes != result.operations * record_bytes) die("lmdb: a scan gave wrong records");
    return result;
  }

  outcome scan_50(const work& w) {
    return run_threads(w, [&](unsigned) {
      return [this, r = reader(env_), bytes = std::uint64_t{0}](std::uint32_t id) mutable {
        key_text key;
        make_key(id, false, key);
        MDB_cursor* cursor = nullptr;
        must(mdb_cursor_open(r.renew(), dbi_, &cursor), "cursor");
        MDB_val k = val(key.view()), v{};
        int rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
        for (unsigned n = 0; n < 50 && rc == 0; ++n) {
          bytes += k.mv_size + v.mv_size;
          rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
        }
        if (bytes == 0) die("lmdb: scans gave nothing");
        mdb_cursor_close(cursor);
        r.reset();
      };
    });
  }

  MDB_env* env_ = nullptr;
  MDB_dbi dbi_ = 0;
};

}  // namespace

std::unique_ptr<engine> make_lmdb_engine() {
  return std::make_unique<lmdb_engine>();
}

#endif
}  // namespace pleach::bench
