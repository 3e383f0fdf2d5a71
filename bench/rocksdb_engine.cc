// RocksDB under test: bloom filter of 10 bits, 4 KiB blocks, LRU cache of 64 shards, no
// compression, dynamic level bytes, 2 background jobs, 3 write buffers of 128 MiB, the log always
// on; `sync` only where commits are to be durable. With data larger than the cache it reads past
// the page cache.
#ifdef PLEACH_BENCH_ROCKSDB
#include <fmt/format.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include "bench/process_counters.hh"
#include "bench/thread_driver.hh"
#include "bench/workload.hh"
#endif

#include "bench/engine.hh"

namespace pleach::bench {

#ifndef PLEACH_BENCH_ROCKSDB
std::unique_ptr<engine> make_rocksdb_engine() {
  return nullptr;
}
#else

namespace {

void must(const rocksdb::Status& s, const char* what) {
  if (!s.ok()) die(fmt::format("rocksdb: {}: {}", what, s.ToString()));
}

rocksdb::Slice slice(std::string_view s) {
  return {s.data(), s.size()};
}

rocksdb::Options settings(const engine_options& options) {
  rocksdb::BlockBasedTableOptions table;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.block_size = 4096;
  table.block_cache = rocksdb::NewLRUCache(options.cache_bytes, 6);
  rocksdb::Options o;
  o.create_if_missing = true;
  o.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  o.compression = rocksdb::kNoCompression;
  o.level_compaction_dynamic_level_bytes = true;
  o.max_background_jobs = 2;
  o.write_buffer_size = 128 << 20;
  o.max_write_buffer_number = 3;
  if (options.durable) o.recycle_log_file_num = 2;
  o.use_direct_reads = options.cold;
  o.use_direct_io_for_flush_and_compaction = options.cold;
  return o;
}

class rocksdb_engine final : public engine {
 public:
  bool supports(activity what, const engine_options&) const override {
    return what != activity::MULTI_GET;
  }

  void create(const engine_options& options) override {
    db_.reset();
    rocksdb::DestroyDB(options.dir + "/rocksdb", {});
    open(options);
  }

  void reopen(const engine_options& options) override {
    settle();
    db_.reset();
    open(options);
  }

  void settle() override {
    must(db_->Flush({}), "flush");
    while (number("rocksdb.compaction-pending") + number("rocksdb.num-running-compactions") +
               number("rocksdb.num-running-flushes") !=
           0)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }

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
      case activity::MULTI_GET:  // not measured
        break;
      case activity::SCAN_50:
        return scan_50(w);
    }
    return {};
  }

  std::string stats() const override {
    std::string text;
    db_->GetProperty("rocksdb.stats", &text);
    return text;
  }

 private:
  std::uint64_t number(const char* property) const {
    std::uint64_t value = 0;
    return db_->GetIntProperty(property, &value) ? value : 0;
  }

  void open(const engine_options& options) {
    rocksdb::DB* db = nullptr;
    must(rocksdb::DB::Open(settings(options), options.dir + "/rocksdb", &db), "open");
    db_.reset(db);
  }

  outcome fill(const work& w) {
    outcome result;
    rocksdb::WriteBatch changes;
    key_text key;
    value_text value;
    const std::uint64_t begin = now_ns();
    std::uint64_t before = begin;
    for (std::size_t i = 0; i < w.ids.size();) {
      changes.Clear();
      for (std::uint32_t n = 0; n < w.batch_records && i < w.ids.size(); ++n, ++i) {
        make_key(w.ids[i], false, key);
        make_value(w.ids[i], 0, value);
        must(changes.Put(slice(key.view()), slice(value.view())), "put");
      }
      must(db_->Write({}, &changes), "write");
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
      return [this, missing, found = std::string()](std::uint32_t id) mutable {
        key_text key;
        make_key(id, missing, key);
        const rocksdb::Status s = db_->Get({}, slice(key.view()), &found);
        if (missing) {
          if (!s.IsNotFound()) die("rocksdb: a missing key was found");
        } else {
          must(s, "get");
          if (!value_is_of(found, id)) die("rocksdb: wrong value");
        }
      };
    });
  }

  outcome put(const work& w) {
    return run_threads(w, [&](unsigned t) {
      rocksdb::WriteOptions options;
      options.sync = true;
      return [this, options, version = std::uint64_t{t} << 20](std::uint32_t id) mutable {
        key_text key;
        value_text value;
        make_key(id, false, key);
        make_value(id, ++version, value);
        must(db_->Put(options, slice(key.view()), slice(value.view())), "put");
      };
    });
  }

  outcome scan_all(const work& w) {
    outcome result;
    const bool forward = w.what == activity::SCAN_FORWARD;
    std::uint64_t bytes = 0;
    const std::uint64_t begin = now_ns();
    do {
      const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator({}));
      forward ? it->SeekToFirst() : it->SeekToLast();
      for (; it->Valid(); forward ? it->Next() : it->Prev()) {
        bytes += it->key().size() + it->value().size();
        ++result.operations;
      }
      must(it->status(), "scan");
      result.elapsed_ns = now_ns() - begin;
    } while (result.elapsed_ns < w.duration_ns);
    if (bytes != result.operations * record_bytes) die("rocksdb: a scan gave wrong records");
    return result;
  }

  outcome scan_50(const work& w) {
    return run_threads(w, [&](unsigned) {
      return [it = std::unique_ptr<rocksdb::Iterator>(db_->NewIterator({})),
              bytes = std::uint64_t{0}](std::uint32_t id) mutable {
        key_text key;
        make_key(id, false, key);
        it->Seek(slice(key.view()));
        for (unsigned n = 0; n < 50 && it->Valid(); ++n, it->Next())
          bytes += it->key().size() + it->value().size();
        if (bytes == 0) die("rocksdb: scans gave nothing");
      };
    });
  }

  std::unique_ptr<rocksdb::DB> db_;
};

}  // namespace

std::unique_ptr<engine> make_rocksdb_engine() {
  return std::make_unique<rocksdb_engine>();
}

#endif
}  // namespace pleach::bench
