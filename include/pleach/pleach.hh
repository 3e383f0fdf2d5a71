// Pleach: an embeddable, asynchronous, crash-safe B+tree store for metadata.
//
// One thread at a time polls a store; every function below belongs to that thread unless it says
// "thread-safe". Every operation is an object that its caller owns; the engine allocates nothing
// for it. The same object serves four faces:
//
//     auto a = store.run(tree.get(key, value));        // blocking: polls until done
//     auto a = co_await tree.get(key, value);          // C++20 coroutine, resumed from poll()
//     auto a = pleach::await(tree.get(key, value));    // fiber (pleach/fiber.hh)
//     get_op.start(callback, datum);                   // callback, from poll()
//
// Operations in flight have no order among themselves: put(k) then get(k) without waiting between
// them is unordered. A batch has order. Keys and values passed in belong to the caller until
// completion.
//
// Calling poll, run or close inside a callback is `invalid`; starting operations there is allowed.
// Callbacks must not throw; one that does is caught and counted. A store belongs to the process
// that opened it: calls in a forked child are `invalid`.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pleach {

/// What a caller tests. Values are stable.
enum class category : std::uint16_t {
  ok = 0,
  not_found = 1,
  exists = 2,
  invalid = 3,
  no_space = 4,
  no_credit = 5,
  busy = 6,
  conflict = 7,
  cancelled = 8,
  corrupt = 9,
  io = 10,
  unsupported = 11,
  read_only = 12,
  too_large = 13,
  no_memory = 14,
  failed = 15,
};

/// Outcome of an operation, of a read too. `lsn` is the newest group whose effect it saw or made: a
/// durable read is a read followed by wait(lsn, durable).
struct answer {
  std::uint32_t code = 0;  ///< category << 16 | number; 0 = ok
  std::uint64_t lsn = 0;
  std::uint64_t page = 0;  ///< address of the page that a `corrupt` or `io` is about, else 0
  std::uint32_t wanted_bytes = 0;  ///< of wrong_key_length, wrong_value_length: the tree's length
  std::uint32_t given_bytes = 0;   ///< and that of the key or value given
  /// What is missing, by name (the comparator of a tree), or null; lives until the store is closed.
  const char* missing = nullptr;

  bool ok() const { return code == 0; }
  explicit operator bool() const { return ok(); }
  category what() const { return static_cast<category>(code >> 16); }
  const char* name() const;      ///< "not_found"; static storage
  const char* sentence() const;  ///< "the key is not there"; static storage
  std::string text() const;      ///< sentence, and the page or the lengths where there are some
};

/// An error of a blocking set-up call: says what was done to what, what was found, and what to do.
struct error {
  std::uint32_t code = 0;
  std::string message;
  category what() const { return static_cast<category>(code >> 16); }
};

enum class device_kind : std::uint8_t { automatic, uring, threads };

/// A key order of the program, for trees whose catalogue record names it
/// (tree_options::comparator).
struct comparator {
  std::string name;  ///< 1 to 64 bytes; a new order needs a new name
  /// RETURNS: <0, 0, >0, the same for the same keys for ever, on every machine. Keys that it calls
  /// equal stay different keys, told apart by their bytes. It never sees an empty key, must not
  /// use the store, and must not throw. One that contradicts itself gives wrong results and
  /// `corrupt`, no worse.
  int (*compare)(std::string_view a, std::string_view b, void* datum) = nullptr;
  void* datum = nullptr;  ///< lives as long as the store is open
};

struct open_options {
  std::uint64_t cache_bytes = 256ull << 20;  ///< the store's whole memory budget, a hard limit
  device_kind device = device_kind::automatic;
  bool read_only = false;                 ///< shares with other readers; writes nothing, ever
  std::vector<comparator> comparators{};  ///< that trees may name
};

struct format_options {
  std::uint64_t size_bytes = 0;  ///< 0: 1 GiB for a file, all of a block device
  std::uint64_t log_bytes = 0;   ///< 0: 64 MiB, or a quarter of a small store
  bool force = false;            ///< overwrite what is there
  std::uint32_t max_node_bytes = 64 << 10;  ///< 16 KiB to 1 MiB; trees may have smaller nodes
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;
};

/// How the keys of a tree are ordered. Persistent numbers.
enum class key_order : std::uint8_t {
  raw = 1,  ///< as unsigned bytes; a proper prefix before what it begins
  /// Keys are integers as this machine keeps them (little-endian), all of `key_bytes`, 1 to 16
  /// bytes: `std::string_view(reinterpret_cast<const char*>(&n), sizeof n)`. Everywhere: what is
  /// given and what comes back. An operation answers `wrong_key_length` to keys of another length;
  /// as a bound, or a place to begin at, the empty key stands for none.
  unsigned_integers = 2,
  signed_integers = 3,  ///< two's complement
  /// By the comparator that tree_options::comparator names. Such a tree opens only where it is
  /// registered (`unsupported` names it otherwise), takes no empty key, and compares whole keys:
  /// no prefix compression, no suffix truncation.
  registered = 4,
};

struct tree_options {
  std::uint32_t node_bytes = 16 << 10;  ///< 4 KiB .. the store's max_node_bytes; power of two
  /// Length of every key, at most 256; 0: keys vary. put, update, upsert and batches refuse others
  /// (`invalid`). Trees with both lengths fixed need less space and find faster.
  std::uint32_t key_bytes = 0;
  /// Length of every value; 0: values vary. Key and value together at most about a quarter of
  /// node_bytes, the value at most 65535.
  std::uint32_t value_bytes = 0;
  /// Nodes store what their keys have in common at the beginning once. Off: every key stands whole.
  bool prefix_compression = true;
  /// Inner nodes hold the shortest keys that tell their children apart. Off: whole keys.
  bool suffix_truncation = true;
  key_order order = key_order::raw;
  std::string_view comparator{};  ///< its name, with key_order::registered
  /// Every record has a checksum of its key, of its value, 4 bytes each: written with the record,
  /// compared by every read of it and by check(). They find what happens to a record outside the
  /// sums that all pages have: damage in memory before it is written, above all.
  bool key_checksums = false;
  bool value_checksums = false;
  /// Version of its leaves: 0 the newest, 1 the first one, which programs before version 2 read (as
  /// long as nothing else in the store is newer). Leaves of version 1 are converted when they are
  /// rewritten, once the store has any of version 2, and by upgrade(). Not 1 with checksums.
  std::uint32_t leaf_version = 0;
  /// Each reference to a node carries the number of records below it: count, rank and select take
  /// time in the height of the tree. Every insert and delete changes, and logs, a few bytes in each
  /// node on its path. A program that does not know it refuses a store with such a tree.
  bool counted = false;
  /// And a digest of them (tree::digest): trees can be compared in time in their difference.
  /// Implies `counted`. Every change of a value changes the path too.
  bool digest = false;
};

/// Flags of a record that its user sets; Pleach does not look at them. Four bits each.
struct record_flags {
  std::uint8_t key = 0;    ///< stay until a write states others
  std::uint8_t value = 0;  ///< of this value: a write that states none clears them
  friend bool operator==(const record_flags&, const record_flags&) = default;
};

/// What an upgrade has done so far; updated while it runs.
struct upgrade_report {
  std::uint64_t leaves = 0;     ///< looked at
  std::uint64_t converted = 0;  ///< of them, because they were of an old version
};

/// When a commit is acknowledged.
enum class durability : std::uint8_t {
  durable,  ///< survives a power cut
  ordered,  ///< visible; durable later, never before an earlier commit
};

/// Watermarks over LSNs that one can wait for.
enum class watermark : std::uint8_t { visible, durable, placed };

/// What becomes of a record that an editor has seen: its value is stored (inserted if it was
/// absent), it is erased, it stays as it is (and the operation is ok), or the operation fails.
enum class edit : std::uint8_t { store, erase, keep, fail };
using editor = edit (*)(void* datum, bool present, std::string& value);
using viewer = bool (*)(void* datum, std::string_view value);
/// The same for a record that is there, with its key.
using record_editor = edit (*)(void* datum, std::string_view key, std::string& value);

/// What the records of a range add up to, whatever tree they are in. Two ranges with the same
/// digest hold the same keys with the same values, but for accidents of probability 2^-64; it is
/// no protection from who chooses records to that end (doc/format.md, Digests).
struct range_digest {
  std::uint64_t count = 0;  ///< records
  std::uint64_t low = 0, high = 0;
  range_digest& operator+=(const range_digest& b) {
    count += b.count;
    low += b.low;
    high += b.high;
    return *this;
  }
  friend bool operator==(const range_digest&, const range_digest&) = default;
  std::string text() const;  ///< `high` and `low` as 32 hexadecimal digits
};
/// RETURNS: the digest of one record, of any length. That of a set of records is the sum of theirs:
/// counts, and both halves modulo 2^64. In the digest of a tree of integers (tree_options::order) a
/// key counts as the store keeps it: from the highest byte to the lowest, the sign bit turned over.
range_digest digest_of(std::string_view key, std::string_view value);

struct tree_info {
  std::string name;
  std::uint64_t id = 0, records = 0, bytes = 0;  ///< bytes of keys and values
  std::uint32_t height = 0, node_bytes = 0;
  std::uint32_t key_bytes = 0, value_bytes = 0;  ///< fixed lengths; 0: they vary
  bool key_checksums = false, value_checksums = false;
  bool counted = false, digest = false;
  bool prefix_compression = true, suffix_truncation = true;
  key_order order = key_order::raw;
  std::string comparator;        ///< its name, with key_order::registered
  bool comparator_known = true;  ///< it is registered here, or there is none
};

struct limits {
  /// Of keys: 1 MiB; in trees of a fixed key length, or with a comparator, 1 KiB at most. A key
  /// over 1 KiB takes blocks of its own; comparing it with another one whose first 1 KiB are the
  /// same reads those of that one. An operation that hands it out, or goes on behind it, holds it
  /// in memory of its own, not of the cache.
  std::uint32_t key_bytes;
  std::uint32_t tree_name_bytes;
  std::uint32_t node_bytes;  ///< largest `tree_options::node_bytes` of this store
  std::uint64_t value_bytes;
  std::uint64_t transaction_pages, transaction_log_bytes, transaction_records;
};

struct counter {
  const char* name;  ///< "cache.hits", "log.durable_lsn"; static storage
  std::uint64_t value;
  const char* help;  ///< one line, with the unit
};

struct problem {
  std::string where;  ///< "superblock 2", "page 1234+4", "tree packages", "log", "space"
  std::string what;
};
/// One key of tree::multi_get, and what became of it.
struct lookup {
  std::string_view key;
  std::string* value = nullptr;  ///< overwritten if found; null: only whether the key is there
  answer result{};               ///< as that of a get
};

struct check_report {
  bool clean = true;
  std::vector<problem> problems;  ///< the first 1000
  std::uint64_t problem_count = 0;
  std::vector<problem> unchecked;  ///< what could not be looked at, and why; no problem by itself
  std::uint64_t pages = 0, records = 0, trees = 0, blocks_used = 0, blocks_free = 0, log_groups = 0;
  std::uint64_t leaves = 0, old_leaves = 0;  ///< all, and those that an upgrade would convert
  /// Bytes that leaves have for their records and fences, and how many of them are used.
  std::uint64_t leaf_bytes = 0, leaf_bytes_used = 0;
};

class store;
class tree;
class cursor;
class batch;
class value_reader;
class value_writer;
class bulk_loader;
namespace internal {
struct store_state;
struct tree_state;
struct operation_access;
}  // namespace internal

/// What an operation remembers of where it ended, so that the next one that is given it, on keys
/// near by, skips the way from the root: runs of neighbouring keys become cheaper. The caller's
/// own, small, copied freely; it may outlive its tree and its store, and be used with others. It
/// holds nothing and is never trusted: where it does not fit any more the operation goes the usual
/// way. Not shared by operations in flight at the same time. store::stats() counts hits and misses.
class cookie {
 public:
  void clear() { *this = {}; }

 private:
  friend struct internal::operation_access;
  alignas(8) std::byte state_[48] = {};
};

/// An operation in its caller's storage; neither copied nor moved. Destroying one that is started
/// and not done aborts: cancel it, then poll until it is done.
class operation {
 public:
  using callback = void (*)(operation&, void* datum);
  operation(const operation&) = delete;
  operation& operator=(const operation&) = delete;
  ~operation();

  /// Starts; `fn` runs from poll() when done, or at once where the operation cannot even start (a
  /// closed store, another thread). It may start other operations and destroy this one.
  void start(callback fn, void* datum);
  bool done() const;
  const answer& result() const { return answer_; }
  /// Ends the operation at its next wait with `cancelled`. After its changes are made it only
  /// detaches: the changes stand, durability is not awaited.
  void cancel();
  /// Absolute, steady clock, ns; `cancelled` (timed_out) if it passes. Before start.
  operation& deadline_ns(std::uint64_t at);
  /// What it waits for now ("page load", "log credit"), or null.
  const char* waiting_for() const;

  std::uint64_t tag = 0;  ///< the caller's own

  // C++20 coroutines: co_await an operation.
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h);
  answer await_resume() const noexcept { return answer_; }

  static constexpr std::size_t room_bytes = 2688;

 private:
  friend class store;
  friend class tree;
  friend class cursor;
  friend class batch;
  friend class value_reader;
  friend class value_writer;
  friend class bulk_loader;
  friend struct internal::operation_access;
  operation(internal::store_state* s, void (*make)(operation&, void*), void* context);

  answer answer_;
  callback fn_ = nullptr;
  void* datum_ = nullptr;
  internal::store_state* store_ = nullptr;
  enum class state : std::uint8_t { idle, started, done } at_ = state::idle;
  alignas(16) std::byte room_[room_bytes];
};

/// A counted handle to an open tree. Copyable; all copies share one tree. Closing = destruction of
/// the last one.
class tree {
 public:
  tree() = default;
  explicit operator bool() const { return state_ != nullptr; }
  const std::string& name() const;
  std::uint64_t id() const;
  std::uint32_t key_bytes() const;    ///< length of all keys; 0: they vary
  std::uint32_t value_bytes() const;  ///< length of all values; 0: they vary
  key_order order() const;
  /// Visible now. 0 also if it cannot be told: a closed store, a root that does not load, or is not
  /// in memory when this is called from a callback.
  std::uint64_t record_count() const;
  std::uint64_t byte_count() const;

  /// Exact. `value` is overwritten (its capacity reused); not_found leaves it alone. `conflict`,
  /// here and below: a large value is replaced again and again faster than it can be read. `near`,
  /// here and below: a cookie that earlier operations have left (or an empty one); updated. The
  /// caller's until completion.
  operation get(std::string_view key, std::string& value, cookie* near = nullptr);
  operation exists(std::string_view key, cookie* near = nullptr);
  /// The same, with the flags of the record.
  operation get(std::string_view key, std::string& value, record_flags& flags);
  /// Gets all `lookups`, in any order, faster than one by one: their waits for memory and for the
  /// device overlap. Each is as consistent as a get; together they are no snapshot, a change may
  /// come between two of them. The answer is ok, or the first of the results that is neither ok nor
  /// not_found; the other lookups go on after one that failed. Lookups, keys and values are the
  /// caller's until completion. Many thousands at once are fine: others get their turn in between.
  operation multi_get(std::span<lookup> lookups);
  /// Exact. `fn` sees the value where it lies in the page, until it returns; it is called once,
  /// must not use the store, and must not throw. False: the operation ends with `callback_failed`.
  operation visit(std::string_view key, viewer fn, void* datum);
  /// A range of the value: bytes from `offset` on, as many as `out` takes and the value has, of one
  /// version of it; `got` says how many. Memory and I/O are those of the range, not of the value,
  /// where the value is longer than 1 MiB. `out` and `got` belong to the operation until it is
  /// done.
  operation read(std::string_view key, std::uint64_t offset, std::span<char> out, std::size_t& got);
  /// Least key >= `key` / greatest key <= `key`.
  operation get_at_least(std::string_view key, std::string& found_key, std::string& value);
  operation get_at_most(std::string_view key, std::string& found_key, std::string& value);
  operation min(std::string& key, std::string& value);
  operation max(std::string& key, std::string& value);
  /// Least key > / greatest key < `key`, which need not exist.
  operation next(std::string_view key, std::string& found_key, std::string& value);
  operation prev(std::string_view key, std::string& found_key, std::string& value);
  /// The same within a range: least key > `key` and < `upto` / greatest key < `key` and >=
  /// `downto`; not_found at the bound, behind which nothing is read. An empty `upto` is no bound.
  operation next_upto(std::string_view key, std::string_view upto, std::string& found_key,
                      std::string& value);
  operation prev_downto(std::string_view key, std::string_view downto, std::string& found_key,
                        std::string& value);
  /// `n` = number of keys in [from, to); an empty `to` is the end of the tree. A counted tree
  /// answers in time in its height, with the number of one moment. Else it walks the leaves,
  /// without looking at values and in constant memory: a key that lives throughout is counted
  /// exactly once, whatever else changes meanwhile; of those that come or go some are counted.
  /// `n` is written at the end; if the operation fails, with what it had counted by then.
  operation count(std::string_view from, std::string_view to, std::uint64_t& n);
  /// `n` = number of keys < `key`, which need not exist. As count.
  operation rank(std::string_view key, std::uint64_t& n);
  /// The record with `index` others below it: select(rank(k)) is the least key >= k.
  /// ERRORS: not_found; unsupported (not_counted) if the tree was made without
  /// tree_options::counted.
  operation select(std::uint64_t index, std::string& key, std::string& value);
  /// Of the keys in [from, to), at one moment, in time in the height of the tree; an empty `to` is
  /// the end of the tree. `out` is written if the operation is ok.
  /// ERRORS: unsupported (not_counted) if the tree was made without tree_options::digest.
  operation digest(std::string_view from, std::string_view to, range_digest& out);
  bool has_counts() const;
  bool has_digest() const;

  operation put(std::string_view key, std::string_view value, durability d = durability::durable,
                cookie* near = nullptr);  ///< `exists` if present
  operation update(std::string_view key, std::string_view value, durability d = durability::durable,
                   cookie* near = nullptr);  ///< `not_found` if absent
  operation upsert(std::string_view key, std::string_view value, durability d = durability::durable,
                   cookie* near = nullptr);
  /// An upsert that states the flags of the record, each of four bits. Records of trees with both
  /// lengths fixed and no checksums have none (`invalid`).
  operation upsert(std::string_view key, std::string_view value, record_flags flags,
                   durability d = durability::durable);
  /// Put, update, upsert or delete as `fn` decides when it has seen the record as it is at the
  /// moment of the change: nothing comes between what it sees and what it does. `value` holds the
  /// present value, or nothing if the key is absent; with `edit::store` it becomes what `value`
  /// holds afterwards (at most 1 MiB), larger or smaller, and only bytes that differ are logged.
  /// With `edit::fail` the operation ends with `callback_failed` and the tree is as it was, byte
  /// for byte. `fn` is asked again, with the new record, if another operation changes the record
  /// first: only its last answer counts. It must not use the store and must not throw. `value` is
  /// the caller's until completion. The flags of the record stay.
  operation modify(std::string_view key, std::string& value, editor fn, void* datum,
                   durability d = durability::durable);
  /// `old_value` (may be null) receives the deleted value.
  operation del(std::string_view key, std::string* old_value = nullptr,
                durability d = durability::durable, cookie* near = nullptr);

  /// Rewrites all leaves that are of an old version, one by one, each in a transaction of its own,
  /// while others use the tree; durable at the end. What a crash or a cancel leaves undone the next
  /// upgrade does. `report` is the caller's until completion.
  operation upgrade(upgrade_report& report);
  /// Shows every record to `fn`, in key order, each in a transaction of its own, while others use
  /// the tree: how a program converts its own records. As in modify, `fn` says what becomes of the
  /// record, is asked again if another operation changes it first, must not use the store and must
  /// not throw; with `edit::fail` the operation ends there. Keys that live throughout are edited
  /// exactly once. `changed` (the caller's) counts the records stored or erased. Durable at the
  /// end.
  operation edit_all(record_editor fn, void* datum, std::uint64_t& changed);
  /// Deletes the records with keys in [from, to); an empty `to` is the end of the tree. Branches
  /// that lie wholly in the range are cut off in one transaction each, and given back afterwards: a
  /// million records go with a handful of page writes. Not one transaction: each of several leaves
  /// a correct tree, and others read and write meanwhile. What they insert into the range after the
  /// start may stay. `n`, the caller's until completion, counts up the records that are gone; once
  /// the operation is ok it is their exact number. Until then record_count and byte_count still
  /// have those that were cut off and not given back yet. Cancelled in between it stops, with part
  /// of the range deleted; the next open that may write gives back what was cut off. Takes no space
  /// worth mentioning: it works in a full store.
  operation delete_range(std::string_view from, std::string_view to, std::uint64_t& n,
                         durability d = durability::durable);
  /// Deletes all records in bounded transactions: each frees at most `pages` leaves (1 to
  /// `truncate_pages_max`), or deletes a few dozen records of one leaf, and so takes a bounded part
  /// of the log and of the cache. Between two of them the tree is correct and everybody may use it.
  /// Ends after `steps` of them, 0: when all is deleted; with n == 0 nothing was left. `n` as
  /// above; record_count is right at every moment.
  operation truncate(std::uint32_t pages, std::uint64_t& n, std::uint64_t steps = 0,
                     durability d = durability::durable);
  static constexpr std::uint32_t truncate_pages_max = 16;

 private:
  friend class store;
  friend class cursor;
  friend class batch;
  friend class value_reader;
  friend class value_writer;
  friend class bulk_loader;
  friend struct internal::operation_access;
  std::shared_ptr<internal::tree_state> state_;
};

/// Reads one value piece by piece. All pieces are of the value that the first read met: once it is
/// replaced or deleted a read answers `conflict` or `not_found`, never bytes of another value.
class value_reader {
 public:
  value_reader(const tree& t, std::string_view key);
  value_reader(const value_reader&) = delete;
  value_reader& operator=(const value_reader&) = delete;
  ~value_reader();

  /// As tree::read. One at a time.
  operation read(std::uint64_t offset, std::span<char> out, std::size_t& got);
  /// Bytes of the value, known after the first read that was ok.
  std::uint64_t size() const;

 private:
  struct state;
  std::unique_ptr<state> state_;
};

/// Where in a value a value_writer begins: a byte, or its end.
enum class write_at : std::uint64_t { end = ~std::uint64_t{0} };

/// Writes one value piece by piece, for an upsert, or a part of one that is there. Nothing is
/// visible before the commit; what is written until then is reserved in memory only, so that a
/// crash leaks nothing, and destroying the writer gives it back. Takes up to 64 KiB of memory,
/// besides what an operation borrows of the store's budget while it runs.
class value_writer {
 public:
  /// `expected_bytes`: of the whole value, 0 if unknown; a wrong number costs only time.
  value_writer(const tree& t, std::string_view key, std::uint64_t expected_bytes = 0);
  /// What is written replaces the bytes from `where` on of the value that is there, and may go on
  /// behind its end; at write_at::end it is appended. The bytes before and behind stay. Of a value
  /// of more than 1 MiB the rest is neither read nor written, but for the 64 KiB around both ends
  /// of the range; of a shorter one the writer holds up to 1 MiB for a moment. ERRORS: of the first
  /// write: not_found, invalid (`where` is behind the value's end); of later ones and of the commit
  /// also `conflict`: the value was replaced since the first write.
  value_writer(const tree& t, std::string_view key, write_at where);
  value_writer(const value_writer&) = delete;
  value_writer& operator=(const value_writer&) = delete;
  /// REQUIRES: no operation of it is in flight.
  ~value_writer();

  /// Appends `more`, the caller's until the operation is done. One at a time, in order.
  /// ERRORS: too_large beyond limits().value_bytes, no_space, ... After any error the writer takes
  /// nothing more: destroy it.
  operation write(std::span<const char> more);
  /// Makes what is written when it starts visible as the value; also an empty one. Nothing written
  /// at a `where` changes nothing. Once; `invalid` while a write is under way.
  operation commit(durability d = durability::durable);
  /// Bytes written so far.
  std::uint64_t size() const;

 private:
  struct state;
  std::unique_ptr<state> state_;
};

/// A record of bulk_loader::add. Key and value are the caller's until completion.
struct load_record {
  std::string_view key, value;
};

/// Fills an empty tree with records in order, many times faster than put or a batch: the nodes are
/// written once, full, straight to their places, and only the commit goes through the log. Nothing
/// is visible before the commit; what is written until then is reserved in memory only, so that a
/// crash leaks nothing, and destroying the loader gives it back. A load may be of hundreds of GiB
/// (`too_large` at the commit beyond a third of the log, at 4.6 KiB for 126 MiB of the volume).
/// Takes about 1 MiB of memory and a node for each level of the tree, besides what an operation
/// borrows of the store's budget while it runs; with values that are too large for a node 1 MiB
/// more.
class bulk_loader {
 public:
  explicit bulk_loader(const tree& t);
  bulk_loader(const bulk_loader&) = delete;
  bulk_loader& operator=(const bulk_loader&) = delete;
  /// REQUIRES: no operation of it is in flight.
  ~bulk_loader();

  /// Appends records, in strictly ascending order of keys, the tree's; the caller's until the
  /// operation is done. One at a time; some thousand records at once are best. ERRORS: `invalid`
  /// (not_ascending; wrong_key_length, ...), `too_large` (a key or value), and `unsupported`
  /// (not_in_bulk: a key over 1 KiB) for one of the records: none of this call was taken, and the
  /// loader goes on. After any other error it takes nothing more: `exists` (not_empty: the tree has
  /// records), `no_space`, ...
  operation add(std::span<const load_record> records);
  /// Makes the records visible, all at once. Once; whatever its outcome the loader takes no more.
  /// ERRORS: `exists` (not_empty) if others put records into the tree meanwhile; `too_large`; ...:
  /// nothing has changed then, and everything was given back.
  operation commit(durability d = durability::durable);
  /// Records taken so far.
  std::uint64_t records() const;

 private:
  struct state;
  std::unique_ptr<state> state_;
};

/// Changes of several trees that become visible and durable together or not at all. Reusable after
/// clear(). In order; the last change of a key wins. Keys and values are copied: that memory is
/// the batch's, and the caller's to bound; it is not part of the store's budget. A commit takes
/// what the batch holds when it starts; until it is done the batch is left alone, and lives.
class batch {
 public:
  explicit batch(store& s);
  batch(const batch&) = delete;
  batch& operator=(const batch&) = delete;
  ~batch();

  void upsert(const tree& t, std::string_view key, std::string_view value);
  void upsert(const tree& t, std::string_view key, std::string_view value, record_flags flags);
  void del(const tree& t, std::string_view key);  ///< a key that is not there is no error
  void clear();
  std::size_t size() const;
  /// ERRORS: too_large over limits(), no_space, ... ; nothing of it is visible then.
  operation commit(durability d = durability::durable);

 private:
  friend struct internal::operation_access;
  struct state;
  std::unique_ptr<state> state_;
};

/// A position in a tree: the last key, found again after any concurrent change. Copies of key and
/// value are the cursor's. One of its operations at a time, from its making to its end; nothing
/// else is done with the cursor meanwhile.
class cursor {
 public:
  explicit cursor(const tree& t);
  cursor(const cursor&) = delete;
  cursor& operator=(const cursor&) = delete;
  ~cursor();

  /// From now on the cursor sees the keys in [from, to) only: first and last are those of the
  /// range, next and prev end at its bounds with not_found. An empty `to` is no bound. Copied; the
  /// position is nowhere afterwards. Not while an operation of the cursor is under way.
  void range(std::string_view from, std::string_view to);

  operation seek(std::string_view key);  ///< to the least key >= key
  operation seek_at_most(std::string_view key);
  operation first();
  operation last();
  operation next();  ///< `not_found` at the end; the position is then past the end
  operation prev();

  /// Same as next/prev without an operation, when the next record is in the page that was copied
  /// last and that has not changed since.
  /// RETURNS: false if an operation is needed.
  bool try_next();
  bool try_prev();

  bool valid() const;
  std::string_view key() const;  ///< until the next move
  std::string_view value() const;
  record_flags flags() const;  ///< of the record

 private:
  friend struct internal::operation_access;
  struct state;
  std::unique_ptr<state> state_;
};

class store {
 public:
  /// Makes a store at `path` (a new file, or a block device). On failure nothing is left behind.
  static std::expected<void, error> format(const std::string& path, const format_options& options);
  /// Opens, recovering if the last writer did not close.
  /// ERRORS: not_found (no file), invalid (not a Pleach store, too small), busy (already open),
  /// unsupported (newer format), read_only, corrupt, no_memory, io.
  static std::expected<store, error> open(const std::string& path,
                                          const open_options& options = {});
  /// The same engine over memory; nothing persists.
  static std::expected<store, error> open_memory(std::uint64_t size_bytes,
                                                 const open_options& options = {});

  store(store&&) noexcept;
  store& operator=(store&&) noexcept;
  /// Closes if still open. Where `close` is refused (on another thread, in a callback, in a forked
  /// child) memory and file stay as they are until the process ends, as after a crash.
  ~store();

  /// Waits for operations in flight, makes all durable, writes all pages home. Blocking.
  /// Idempotent. What their callbacks start meanwhile is refused (cancelled: the store is closing).
  std::expected<void, error> close();

  // --- the event loop ---
  int event_fd() const;                    ///< readable while there is work
  std::expected<unsigned, answer> poll();  ///< one bounded round; runs callbacks
  std::int64_t next_timeout_ns();          ///< 0: now; -1: only the fd will tell
  /// Blocking face: polls until `op` is done.
  answer run(operation& op);
  answer run(operation&& op) { return run(op); }
  /// Thread-safe: calls `fn` from a later poll().
  void post(std::function<void()> fn);

  // --- trees ---
  operation create_tree(std::string_view name, const tree_options& options,
                        tree& out);                       ///< `exists` if there
  operation open_tree(std::string_view name, tree& out);  ///< `not_found` (unknown tree)
  /// Removes the tree at once for everybody, then gives its pages back in bounded steps; resumed at
  /// the next open.
  operation drop_tree(std::string_view name);
  /// tree::upgrade of the catalogue, the tree of trees.
  operation upgrade_catalogue(upgrade_report& report);
  /// All trees by name. Blocking.
  std::expected<std::vector<tree_info>, error> trees();

  // --- commits ---
  /// Until the group `lsn` of an answer, and all before it, have reached `w`; 0: all that is
  /// visible at the start. ERRORS: invalid if no operation has been given that LSN yet.
  operation wait(std::uint64_t lsn, watermark w);
  operation flush();  ///< all commits so far durable

  // --- the volume ---
  std::expected<void, error> grow(std::uint64_t new_size_bytes);
  std::uint64_t size_bytes() const;
  pleach::limits limits() const;
  std::vector<counter> stats() const;
  /// The features that the store has come to use, which a program must know to open it: "fixed
  /// lengths, leaf version 2"; empty if none.
  std::string features() const;
  std::string stats_text() const;
  std::string stats_json() const;
  /// Checks everything, changes nothing. Blocking: waits for operations in flight; what their
  /// callbacks start meanwhile is refused (`busy`), because a check needs a store at rest.
  /// `progress` may be empty; returns false to stop early.
  std::expected<check_report, error> check(
      const std::function<bool(std::uint64_t done, std::uint64_t total)>& progress);
  /// What recovery did at this open: "recovered 123 groups, torn tail of 8192 bytes dropped"; empty
  /// if it was clean.
  const std::string& recovery_text() const;
  /// True while any operation waits; one line each: operation, phase, what it waits for.
  std::string waiting_text() const;

 private:
  friend class tree;
  friend class batch;
  friend struct internal::operation_access;
  store();
  void end() noexcept;
  std::shared_ptr<internal::store_state> state_;
};

const char* version();  ///< "0.1.0"

}  // namespace pleach
