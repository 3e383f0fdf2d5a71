// The beginning of what a load puts into one empty tree, as long as its keys ascend: gathered,
// added in bulk, committed at once.
//
// What it is not: it decides nothing about order among trees or about falling back; batch_loader
// does.
//
// I1 Memory: what is held, and what the library's loader takes (about 1 MiB, and a node a level).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pleach/pleach.hh"

namespace pleach::tool {

class bulk_part {
 public:
  struct held_record {
    std::string_view key, value;
  };
  struct held_records {
    tree to;
    std::string bytes;
    std::vector<held_record> records;  // in `bytes`
  };

  explicit bulk_part(store& s) : store_(s) {}
  // Longer keys are not loaded in bulk (pleach::bulk_loader).
  static bool can_take(std::string_view key) { return key.size() <= 1024; }

  // REQUIRES: !active(); the tree is empty.
  void begin(const tree& t);
  bool active() const { return loader_.has_value(); }
  // Is the record of the part's tree, behind all others, and can it be taken?
  bool takes(const tree& t, std::string_view key) const;
  void hold(std::string_view key, std::string_view value);
  std::uint64_t held() const { return ends_.size(); }
  std::size_t held_bytes() const { return bytes_.size(); }
  // Records added to the loader. RETURNS: without those that are held.
  std::uint64_t added() const { return loader_ ? loader_->records() : 0; }

  // Adds what is held. If that fails it is held still.
  answer flush();
  // Makes what was added visible and durable, drops what is held, and ends the part.
  answer commit();
  // Ends the part without its records.
  void drop();
  // The same; `out` is what was held. REQUIRES: added() == 0.
  void take_held(held_records& out);

 private:
  struct ends {
    std::size_t key, value;
  };
  std::vector<held_record> views_of(const std::string& bytes) const;

  store& store_;
  tree tree_;
  std::optional<bulk_loader> loader_;
  std::string last_key_;
  bool any_ = false;
  std::string bytes_;
  std::vector<ends> ends_;  // of the held records, in bytes_
};

}  // namespace pleach::tool
