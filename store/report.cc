// What a person wants to know of an open store: counters, the check, who waits for what.
#include <fmt/format.h>

#include "btree/verify.hh"
#include "store/state.hh"

namespace pleach {

using internal::store_state;

std::vector<counter> store::stats() const {
  const store_layer::core& c = *state_->c;
  if (c.closed) return {};
  cache::cache_statistics p = c.pages->stats();
  txn::engine_statistics e = c.engine->stats();
  const btree::tree_statistics& t = c.ctx->stats;
  const io::statistics& d = c.dev->stats();
  return {
      {"store.bytes", size_bytes(), "size of the volume, bytes"},
      {"store.in_flight", state_->in_flight, "operations started and not done"},
      {"store.callbacks_failed", c.callbacks_failed, "callbacks that threw"},
      {"cache.budget_bytes", c.options.cache_bytes, "the memory budget, bytes"},
      {"cache.memory_bytes", p.memory_bytes, "memory of the page cache, bytes"},
      {"cache.hits", p.hits, "pages found resident"},
      {"cache.misses", p.misses, "pages loaded from the device"},
      {"cache.evictions", p.evictions, "clean pages given up"},
      {"cache.moves", p.moves, "frames moved to make room for a larger page"},
      {"cache.resident_pages", p.resident_pages, "pages in memory"},
      {"cache.dirty_pages", p.dirty_pages, "pages not yet home"},
      {"cache.units_total", p.units_total, "4 KiB units of the arena"},
      {"cache.units_free", p.units_free, "of these, free"},
      {"cache.grant_waits", p.grant_waits, "operations that waited for frames"},
      {"cache.page_writes", p.page_writes, "page images written home"},
      {"cache.write_bytes", p.write_bytes, "bytes of page images written"},
      {"cache.load_failures", p.load_failures, "pages that failed their check"},
      {"log.groups", e.groups, "groups written"},
      {"log.blocks", e.log_blocks, "size of the log, 4 KiB blocks"},
      {"log.blocks_used", e.log_blocks_used, "of these, still needed"},
      {"log.blocks_written", e.log_blocks_written, "log blocks written"},
      {"log.payload_bytes", e.log_bytes_payload, "bytes of records in them"},
      {"log.captured_bytes", e.captured_bytes, "bytes of changes captured"},
      {"log.writes", e.log_writes, "log writes"},
      {"log.flushes", e.flushes, "device flushes for the log"},
      {"log.durable_lsn", e.durable_lsn, "newest durable group"},
      {"log.visible_lsn", e.visible_lsn, "newest visible group"},
      {"log.placed_lsn", e.placed_lsn, "newest group that is home and flushed"},
      {"log.credit_waits", e.credit_waits, "operations that waited for log space"},
      {"log.credit_overruns", e.credit_overruns,
       "transactions that captured more than their credit"},
      {"tx.count", e.transactions, "transactions committed"},
      {"tx.claimed_bytes", e.claimed_bytes,
       "log bytes that they claimed before they changed anything"},
      {"tree.reads", t.reads, "read operations, and lookups of multi-gets"},
      {"tree.multi_gets", t.multi_gets, "multi-gets"},
      {"tree.counts", t.counts, "counts of key ranges"},
      {"tree.sums", t.sums, "counts, ranks, selects and digests answered by aggregates"},
      {"tree.read_ahead", t.read_ahead, "pages loaded ahead of a sequential reader"},
      {"tree.read_ahead_grown", t.ahead_grown, "windows of read-ahead that became longer"},
      {"tree.right_hints", t.right_hints, "steps of reads to the next leaf by its link"},
      {"tree.read_ahead_shrunk", t.ahead_shrunk, "windows that found all resident: shorter"},
      {"tree.writes", t.writes, "write operations"},
      {"tree.inserts", t.inserts, "records inserted"},
      {"tree.replaces", t.replaces, "records replaced"},
      {"tree.deletes", t.deletes, "records deleted"},
      {"tree.bulk_loads", t.bulk_loads, "trees loaded in bulk"},
      {"tree.bulk_records", t.bulk_records, "records that came so"},
      {"tree.splits", t.splits, "nodes split"},
      {"tree.splits_in_run", t.splits_in_run, "leaves split where a run of inserts was, left full"},
      {"tree.growths", t.growths, "nodes moved to a larger page"},
      {"tree.push_downs", t.push_downs, "trees that became higher"},
      {"tree.pull_ups", t.pull_ups, "trees that became lower"},
      {"tree.merges", t.merges, "nodes merged"},
      {"tree.merges_absent", t.merges_absent, "merges left out: a neighbour was not in memory"},
      {"tree.merges_passing", t.merges_passing, "nodes merged by a write that passed them"},
      {"tree.unlinks", t.unlinks, "empty leaves unlinked"},
      {"tree.edits", t.edits, "calls of editors of modifies"},
      {"tree.empties_kept", t.empties_kept, "empty leaves kept for want of room beside"},
      {"tree.cuts", t.cuts, "cuts of whole branches by delete-range"},
      {"tree.cut_leaves", t.cut_leaves, "transactions that took whole leaves out of a tree"},
      {"tree.compactions", t.compactions, "nodes compacted in place"},
      {"tree.cookie_hits", t.cookie_hits, "operations whose cookie saved the descent"},
      {"tree.cookie_misses", t.cookie_misses, "operations whose cookie did not"},
      {"tree.conversions", t.conversions, "rewrites of leaves of an old version as newest ones"},
      {"tree.bad_sums", t.bad_sums, "records read that differ from their checksums"},
      {"tree.restart_stale", t.restart_stale, "descents started again: a page had changed"},
      {"tree.restart_check", t.restart_check, "plans started again: a structure had changed"},
      {"tree.restart_plan", t.restart_plan, "plans started again: they no longer fitted"},
      {"tree.restart_grant", t.restart_grant, "plans started again with more frames"},
      {"tree.lock_all", t.lock_all, "operations that had to run alone"},
      {"device.reads", d.reads, "device reads"},
      {"device.read_bytes", d.read_bytes, "bytes read"},
      {"device.writes", d.writes, "device writes"},
      {"device.written_bytes", d.written_bytes, "bytes written"},
      {"device.flushes", d.flushes, "device flushes"},
      {"device.retries", d.retries, "requests retried"},
      {"device.errors", d.errors, "requests that failed"},
      {"device.system_calls", d.system_calls, "system calls for I/O"},
  };
}

std::string store::features() const {
  return feature_names(state_->c->vol.super.incompat);
}

std::string store::stats_text() const {
  std::string text;
  for (const counter& c : stats())
    text += fmt::format("{:<24} {:>16}  {}\n", c.name, c.value, c.help);
  return text;
}

std::string store::stats_json() const {
  std::string text = "{";
  for (const counter& c : stats())
    text += fmt::format("{}\"{}\":{}", text.size() == 1 ? "" : ",", c.name, c.value);
  return text + "}";
}

std::expected<check_report, error> store::check(
    const std::function<bool(std::uint64_t, std::uint64_t)>& progress) {
  store_state& s = *state_;
  if (errc e = s.check_blocking(); !is_ok(e))
    return std::unexpected(
        error{static_cast<u32>(e), fmt::format("checking {}: {}", s.path, sentence_of(e))});
  store_layer::core& c = *s.c;
  struct at_rest {
    store_state& s;
    explicit at_rest(store_state& of) : s(of) { s.checking = true; }
    ~at_rest() { s.checking = false; }
  } rest(s);
  (void)c.loop.run_while([](void* p) { return static_cast<store_state*>(p)->in_flight != 0; }, &s);
  check_report report;
  auto add = [&](std::string where, std::string what) {
    report.clean = false;
    ++report.problem_count;
    if (report.problems.size() < 1000)
      report.problems.push_back({std::move(where), std::move(what)});
  };
  for (u32 copy = 0; copy < superblock_copies; ++copy)
    if (!c.vol.copy_good[copy])
      add(fmt::format("superblock {}", copy),
          "corrupt: this copy is damaged; another one was used");
  btree::verifier v(*c.ctx, add, progress);
  v.on_unchecked([&](std::string where, std::string what) {
    report.unchecked.push_back({std::move(where), std::move(what)});
  });
  auto totals = v.run();
  if (!totals)
    return std::unexpected(
        error{static_cast<u32>(totals.error()),
              fmt::format("checking {}: {}", s.path, sentence_of(totals.error()))});
  report.pages = totals->pages;
  report.records = totals->records;
  report.trees = totals->trees;
  report.blocks_used = totals->blocks_used;
  report.blocks_free = totals->blocks_free;
  report.leaves = totals->leaves;
  report.old_leaves = totals->old_leaves;
  report.leaf_bytes = totals->leaf_bytes;
  report.leaf_bytes_used = totals->leaf_bytes_used;
  report.log_groups = c.engine->stats().groups;
  return report;
}

std::string store::waiting_text() const {
  std::string text;
  state_->c->loop.for_each_waiting(
      [](sm::op& o, void* out) {
        const char* why = o.waiting_for();
        *static_cast<std::string*>(out) += fmt::format(
            "{} {} {}\n", o.machine().name, o.machine().rows[o.phase_index()].name, why ? why : "");
      },
      &text);
  return text;
}

}  // namespace pleach
