#include "tests/sim/planted_table.hh"

namespace pleach::sim {

namespace {
// Not here, because another rule covers for them, so that alone they break nothing that can be
// seen: chain_ignored (salt and sequence number refuse the same blocks), freed_page_drops_rec (a
// log start is fixed as its group closes, with the free in it). Nor a read that trusts a page which
// was cut off while it waited for it: what it finds was there when it began.
constexpr planted_bug table[] = {
    {"ack_before_flush", hint::ANY, "a commit is acknowledged before its log blocks are durable"},
    {"ack_out_of_order", hint::BIG_GROUPS,
     "a group is acknowledged while an earlier block is in flight"},
    {"bit_set_in_alloc", hint::SPLITS, "space is marked used before the transaction, uncaptured"},
    {"discard_before_flush", hint::SMALL_LOG, "log space is given up although pages are not home"},
    {"free_bit_not_logged", hint::DELETES, "freed space is not captured"},
    {"credit_not_reserved", hint::SMALL_LOG, "a group takes log space that nobody reserved"},
    {"recovery_discards_before_flush", hint::RECOVERY,
     "recovery publishes a short log before pages are flushed"},
    {"no_salt_bump", hint::RECOVERY, "log blocks of an earlier life are accepted"},
    {"log_space_reused_early", hint::SMALL_LOG,
     "log blocks are overwritten before a durable log_start"},
    {"fua_over_unflushed", hint::EXTENTS, "a group is durable before the extents it names"},
    {"drop_last_capture", hint::ANY, "the last capture of a group is not logged"},
    {"free_not_logged", hint::DELETES, "a freed page keeps its log records"},
    {"flush_error_ignored", hint::FAULT_FLUSH, "a failed flush counts as done"},
    {"page_lsn_skip", hint::RECOVERY, "recovery trusts the LSN of a torn page"},
    {"after_image_skipped", hint::DAMAGE, "recovery does not compare after-images"},
    {"seq_off_by_one_at_wrap", hint::SMALL_LOG, "the log's wrap is read wrongly"},
    {"group_first_last_only", hint::RECOVERY,
     "a group counts as whole by its first and last block"},
    {"free_reused_before_durable", hint::DELETES,
     "a freed block is reused before its group is durable"},
    {"hole_too_short", hint::DELETES, "a record is put into a hole that is shorter than it"},
    {"split_drops_record", hint::SPLITS, "a split loses a record"},
    {"merge_loses_separator", hint::MERGES, "a merge loses the separator"},
    {"fence_not_widened", hint::DELETES, "an unlink leaves a gap between fences"},
    {"capture_length_minus_one", hint::ANY, "a capture misses its last byte"},
    {"capture_misses_header", hint::ANY, "a change of a node header is not captured"},
    {"mid_group_image", hint::SMALL_CACHE, "a page image is taken in the middle of a group"},
    {"two_writes_in_flight", hint::SMALL_CACHE, "two writes of one page are in flight"},
    {"image_before_durable", hint::SMALL_CACHE, "a page goes home before its log"},
    {"frame_mutated_in_flight", hint::SMALL_CACHE, "a frame changes while it is written"},
    {"rec_lsn_dropped_at_write", hint::SMALL_LOG, "a page counts as home before the flush"},
    {"version_reuse", hint::SMALL_CACHE, "a reloaded page has an old version (ABA)"},
    {"evict_dirty", hint::SMALL_CACHE, "a dirty page is evicted"},
    {"count_delta_lost", hint::DELETES, "the root's record count misses a delete"},
    {"check_skipped", hint::SPLITS, "ACT does not look again at what the plan saw"},
    {"old_extent_not_freed", hint::EXTENTS, "a replaced large value keeps its blocks"},
    {"shared_runs_freed", hint::PATCHES, "a value that is patched in place loses what it shares"},
    {"map_runs_not_freed", hint::MAPS, "a replaced value with a map keeps its runs"},
    {"chunk_not_checked", hint::MAPS, "a read trusts blocks that were used again"},
    {"commit_not_awaited", hint::ANY, "a durable write ends as an ordered one"},
    {"path_not_checked", hint::DELETES, "a plan trusts a path that was pinned before it waited"},
    {"stale_page_trusted", hint::SMALL_CACHE,
     "a descent trusts a page that no longer covers its key"},
    {"drop_not_resumed", hint::DROPS, "an interrupted drop is not finished after a crash"},
    {"cut_fence_not_widened", hint::RANGES, "a cut leaves a gap between fences"},
    {"cut_cookie_trusted", hint::RANGES, "a cookie or a leaf copy outlives the cut of its leaf"},
    {"cut_still_counted", hint::RANGES, "the root's record count keeps what was cut off"},
    {"cut_not_resumed", hint::RANGES, "what was cut off is not given back after a crash"},
    {"key_extent_not_freed", hint::LONG_KEYS, "a deleted long key keeps its blocks"},
    {"key_extent_freed_twice", hint::LONG_KEYS, "a long key that is a fence loses its blocks"},
    {"long_key_misjudged", hint::LONG_KEYS, "a long key is compared the wrong way round"},
    {"wakeup_lost", hint::SMALL_CACHE, "a released claim wakes nobody (deadlock)"},
    {"short_write_is_full", hint::FAULT_SHORT, "a short write counts as a full one"},
    {"structure_version_kept", hint::SPLITS, "a changed structure keeps its version", true},
    {"page_read_unlatched", hint::SMALL_CACHE, "a pinned page is read without asking for it anew",
     true},
    {"covers_ignores_order", hint::ORDERS,
     "fences are compared as bytes, whatever the tree's order"},
    {"truncated_anyway", hint::ORDERS, "separators are cut although the tree keeps them whole"},
    {"bulk_not_flushed", hint::BULK, "a bulk load is durable before its pages are"},
    {"bulk_count_short", hint::BULK, "the root of a loaded tree counts a record too few"},
    {"bulk_sum_short", hint::BULK_SUMS, "the sum of a loaded node misses its last record"},
    {"bulk_order_unchecked", hint::BULK, "a bulk load takes a key that is out of order"},
    {"conversion_forgets_flags", hint::VERSIONS,
     "a leaf that is converted loses the flags of its values"},
    {"checksum_not_updated", hint::VERSIONS, "a replaced record keeps its old checksums"},
    {"aggregate_not_split", hint::AGGREGATES, "a split leaves the old sum with the left half"},
    {"clean_before_home", hint::CLOSE, "a close says clean although pages are not home"},
};
}  // namespace

std::span<const planted_bug> planted_bugs() {
  return table;
}

}  // namespace pleach::sim
