#include "tools/batch_loader.hh"

#include <fmt/format.h>

#include <utility>

#include "tools/open_store.hh"
#include "tools/text/error.hh"
#include "tools/text/size.hh"

namespace pleach::tool {

namespace {
constexpr std::uint64_t records_per_poll = 32;
// What the library's batch holds for a record besides its bytes, its arrays half empty.
constexpr std::uint64_t record_overhead_bytes = 96;
}  // namespace

batch_loader::batch_loader(store& s, batch_loader_options options)
    : store_(s),
      options_(std::move(options)),
      limits_(s.limits()),
      bulk_(s),
      batch_(s),
      commit_(s) {}

outcome<void> batch_loader::meet_tree(std::string_view name) {
  if (auto t = tree_named(name); !t) return std::unexpected(t.error());
  return {};
}

outcome<batch_loader::met_tree*> batch_loader::tree_named(std::string_view name) {
  if (last_name_ != nullptr && *last_name_ == name) return last_tree_;
  auto found = trees_.find(name);
  if (found == trees_.end()) {
    if (name.empty()) return fail("a tree needs a name; give one with --tree");
    if (name.size() > limits_.tree_name_bytes) {
      return fail(fmt::format("the name of tree {} is too large: a name has at most {} bytes",
                              text::quoted(name), limits_.tree_name_bytes));
    }
    tree opened;
    const answer a = store_.run(store_.open_tree(name, opened));
    if (!a.ok()) {
      if (a.what() != category::not_found)
        return fail(fmt::format("opening tree {}", text::quoted(name)), a);
      auto created = create_tree(store_, name, options_.options_of(name));
      if (!created) return std::unexpected(created.error());
      opened = std::move(*created);
    }
    found = trees_.emplace(name, met_tree{std::move(opened)}).first;
  }
  last_name_ = &found->first;
  last_tree_ = &found->second;
  return last_tree_;
}

outcome<void> batch_loader::check_sizes(std::string_view key, std::string_view value) const {
  if (key.size() > limits_.key_bytes) {
    return fail(fmt::format("the key of {} bytes is too large: a key has at most {}", key.size(),
                            limits_.key_bytes));
  }
  if (value.size() > limits_.value_bytes) {
    return fail(fmt::format("the value of {} bytes is too large: a value has at most {}",
                            value.size(), limits_.value_bytes));
  }
  return {};
}

outcome<void> batch_loader::check_lengths(const tree& to, std::string_view key,
                                          std::string_view value) {
  if (to.key_bytes() != 0 && key.size() != to.key_bytes())
    return fail(fmt::format("the key has {} bytes, all keys of the tree have {}", key.size(),
                            to.key_bytes()));
  if (to.value_bytes() != 0 && value.size() != to.value_bytes())
    return fail(fmt::format("the value has {} bytes, all values of the tree have {}", value.size(),
                            to.value_bytes()));
  return {};
}

outcome<void> batch_loader::add(std::string_view tree_name, std::string_view key,
                                std::string_view value, std::optional<record_flags> flags) {
  if (auto fits = check_sizes(key, value); !fits) return fits;
  auto to = tree_named(tree_name);
  if (!to) return std::unexpected(to.error());
  const tree& t = (*to)->t;
  if (auto fits = check_lengths(t, key, value); !fits) return fits;
  // Records with flags go the usual way.
  if (bulk_.active() && (flags || !bulk_.takes(t, key))) {
    if (auto ended = end_bulk(); !ended) return ended;
  }
  const bool may_begin = options_.bulk && !std::exchange((*to)->bulk_tried, true);
  if (may_begin && t.record_count() == 0 && t.order() == key_order::raw && !flags &&
      bulk_part::can_take(key))
    bulk_.begin(t);
  return bulk_.active() ? add_in_bulk(key, value) : add_to_batch(t, key, value, flags);
}

// Records wait in memory until there are enough to be worth it.
outcome<void> batch_loader::add_in_bulk(std::string_view key, std::string_view value) {
  if (key.size() + value.size() + record_overhead_bytes > options_.cache_bytes) {
    gathered_ += 1;
    gathered_bytes_ += key.size() + value.size();
    return too_large();
  }
  bulk_.hold(key, value);
  if (bulk_.held() < options_.batch_records && bulk_.held_bytes() < held_bytes_max) return {};
  if (bulk_.added() == 0) {  // what comes before it in the stream is committed before it
    if (auto done = finish_batches(); !done) return done;
  }
  const answer a = bulk_.flush();
  if (a.ok()) return {};
  // An empty tree that kept its height takes batches only.
  const bool refused = a.what() == category::exists || a.what() == category::unsupported;
  if (refused && bulk_.added() == 0) return end_bulk();
  bulk_.drop();
  return fail("adding records in bulk", a);
}

// A few records go the usual way, many are committed.
outcome<void> batch_loader::end_bulk() {
  if (bulk_.added() != 0) {
    if (const answer a = bulk_.flush(); !a.ok()) {
      bulk_.drop();
      return fail("adding records in bulk", a);
    }
    return commit_bulk();
  }
  bulk_part::held_records held;
  bulk_.take_held(held);
  for (const bulk_part::held_record& r : held.records) {
    if (auto done = add_to_batch(held.to, r.key, r.value); !done) return done;
  }
  return {};
}

outcome<void> batch_loader::commit_bulk() {
  const std::uint64_t records = bulk_.added();
  const answer a = bulk_.commit();
  if (!a.ok())
    return fail(fmt::format("committing {} records that were loaded in bulk", records), a);
  committed_ += records;
  return options_.acknowledged(committed_);
}

outcome<void> batch_loader::add_to_batch(const tree& to, std::string_view key,
                                         std::string_view value,
                                         std::optional<record_flags> flags) {
  if (commit_.active()) {
    if (gathered_ % records_per_poll == 0) {
      if (auto polled = commit_.poll(); !polled) return polled;
    }
    const bool full = held_bytes_.size() + key.size() + value.size() > held_bytes_max;
    if (full || commit_.done()) {
      if (auto done = await_commit(); !done) return done;
    }
  }
  if (commit_.active()) {
    hold(to, key, value, flags);
  } else {
    put(to, key, value, flags);
  }
  gathered_ += 1;
  gathered_bytes_ += key.size() + value.size();
  const bool beyond = gathered_ > limits_.transaction_records ||
                      gathered_bytes_ + gathered_ * record_overhead_bytes > options_.cache_bytes;
  if (beyond) return too_large();
  if (gathered_ < options_.batch_records) return {};
  return commit();
}

void batch_loader::put(const tree& to, std::string_view key, std::string_view value,
                       std::optional<record_flags> flags) {
  if (flags)
    batch_.upsert(to, key, value, *flags);
  else
    batch_.upsert(to, key, value);
}

void batch_loader::hold(const tree& to, std::string_view key, std::string_view value,
                        std::optional<record_flags> flags) {
  held_bytes_ += key;
  held_bytes_ += value;
  held_.push_back({&to, key.size(), value.size(), flags});
}

outcome<void> batch_loader::commit() {
  if (auto done = await_commit(); !done) return done;
  in_flight_ = gathered_;
  in_flight_bytes_ = gathered_bytes_;
  gathered_ = gathered_bytes_ = 0;
  commit_.start([&] { return batch_.commit(durability::durable); });
  return commit_.poll();
}

// Also moves what was gathered meanwhile into the batch, which is free now.
outcome<void> batch_loader::await_commit() {
  if (!commit_.active()) return {};
  if (auto waited = commit_.wait(); !waited) return waited;
  if (auto settled = settle(); !settled) return settled;
  std::string_view rest = held_bytes_;
  for (const held_record& r : held_) {
    put(*r.to, rest.substr(0, r.key_bytes), rest.substr(r.key_bytes, r.value_bytes), r.flags);
    rest.remove_prefix(r.key_bytes + r.value_bytes);
  }
  held_.clear();
  held_bytes_.clear();
  return {};
}

outcome<void> batch_loader::settle() {
  const answer a = commit_.take();
  batch_.clear();
  if (!a.ok()) {
    gathered_ = in_flight_;
    gathered_bytes_ = in_flight_bytes_;
    const bool budget = a.what() == category::too_large || a.what() == category::no_memory ||
                        a.what() == category::no_credit;
    if (budget) return too_large();
    return fail(fmt::format("committing a batch of {} records", in_flight_), a);
  }
  committed_ += in_flight_;
  in_flight_ = 0;
  return options_.acknowledged(committed_);
}

outcome<void> batch_loader::finish() {
  if (bulk_.active()) {
    if (auto ended = end_bulk(); !ended) return ended;
  }
  return finish_batches();
}

outcome<void> batch_loader::finish_batches() {
  if (auto done = await_commit(); !done) return done;
  if (gathered_ == 0) return {};
  if (auto started = commit(); !started) return started;
  return await_commit();
}

outcome<void> batch_loader::stop() {
  if (bulk_.active() && bulk_.added() != 0) return commit_bulk();
  if (!commit_.active()) return {};
  if (auto waited = commit_.wait(); !waited) return waited;
  return settle();
}

std::unexpected<failure> batch_loader::too_large() const {
  return fail(fmt::format(
      "a batch of {} records with {} bytes is too large for the store's limits (at most {} "
      "records): use a smaller --batch (it is {}), a larger --cache (it is {}), or a store "
      "with a larger log",
      gathered_, gathered_bytes_, limits_.transaction_records, options_.batch_records,
      text::format_size(options_.cache_bytes)));
}

}  // namespace pleach::tool
