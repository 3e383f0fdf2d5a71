// Puts a stream of records into a store in atomic, durable batches of N, in the order of the
// stream; or, as long as they come sorted and their tree is empty, in bulk (bulk_part.hh).
//
// It knows no input format. While one batch commits, the next one is gathered.
//
// I1 Batches are committed one at a time: after a crash the store holds the first M records, M a
//    multiple of N (or all; or the place where a bulk part begins or ends), and M is at least the
//    last count acknowledged.
// I2 Memory: the library's batch (counted in its budget), and besides it at most `held_bytes_max`
//    and one record, gathered while a commit runs.
// I3 After a failure nothing more is committed but what was added in bulk; what was acknowledged
//    stays.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pleach/pleach.hh"
#include "tools/bulk_part.hh"
#include "tools/outcome.hh"
#include "tools/pending.hh"

namespace pleach::tool {

struct batch_loader_options {
  std::uint64_t batch_records = 1000;
  bool bulk = false;              // sorted records into empty trees in bulk
  std::uint64_t cache_bytes = 0;  // for messages, and the bound of a batch
  std::function<tree_options(std::string_view tree)> options_of;
  // Called after each durable commit with the records durable so far.
  std::function<outcome<void>(std::uint64_t)> acknowledged;
};

class batch_loader {
 public:
  batch_loader(store& s, batch_loader_options options);

  // Makes the tree if it is not there, also if no record follows.
  outcome<void> meet_tree(std::string_view name);
  outcome<void> add(std::string_view tree, std::string_view key, std::string_view value,
                    std::optional<record_flags> flags = {});
  // Commits the last, partial batch.
  outcome<void> finish();
  // After a failure elsewhere: lets the commit in flight end; drops what is gathered.
  outcome<void> stop();

  std::uint64_t committed() const { return committed_; }

 private:
  struct held_record {
    const tree* to;
    std::size_t key_bytes, value_bytes;
    std::optional<record_flags> flags;
  };

  struct met_tree {
    tree t;
    bool bulk_tried = false;  // the first record decides
  };

  outcome<met_tree*> tree_named(std::string_view name);
  outcome<void> add_to_batch(const tree& to, std::string_view key, std::string_view value,
                             std::optional<record_flags> flags = {});
  outcome<void> add_in_bulk(std::string_view key, std::string_view value);
  outcome<void> end_bulk();
  outcome<void> commit_bulk();
  outcome<void> finish_batches();
  outcome<void> check_sizes(std::string_view key, std::string_view value) const;
  static outcome<void> check_lengths(const tree& to, std::string_view key, std::string_view value);
  void hold(const tree& to, std::string_view key, std::string_view value,
            std::optional<record_flags> flags);
  void put(const tree& to, std::string_view key, std::string_view value,
           std::optional<record_flags> flags);
  outcome<void> commit();
  outcome<void> await_commit();
  outcome<void> settle();
  std::unexpected<failure> too_large() const;

  static constexpr std::size_t held_bytes_max = 2 << 20;

  store& store_;
  batch_loader_options options_;
  limits limits_;
  std::map<std::string, met_tree, std::less<>> trees_;
  const std::string* last_name_ = nullptr;  // of the record before: mostly the same tree
  met_tree* last_tree_ = nullptr;
  bulk_part bulk_;
  batch batch_;
  pending commit_;  // of batch_; dies before it
  std::string held_bytes_;
  std::vector<held_record> held_;
  std::uint64_t gathered_ = 0;  // records since the last commit was started
  std::uint64_t gathered_bytes_ = 0;
  std::uint64_t in_flight_ = 0;  // records of the commit that runs
  std::uint64_t in_flight_bytes_ = 0;
  std::uint64_t committed_ = 0;
};

}  // namespace pleach::tool
