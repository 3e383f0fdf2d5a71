#include "tools/bulk_part.hh"

#include <utility>

namespace pleach::tool {

void bulk_part::begin(const tree& t) {
  tree_ = t;
  loader_.emplace(t);
  any_ = false;
}

bool bulk_part::takes(const tree& t, std::string_view key) const {
  return can_take(key) && t.id() == tree_.id() && (!any_ || key > std::string_view(last_key_));
}

void bulk_part::hold(std::string_view key, std::string_view value) {
  bytes_ += key;
  const std::size_t key_end = bytes_.size();
  bytes_ += value;
  ends_.push_back({key_end, bytes_.size()});
  last_key_ = key;
  any_ = true;
}

std::vector<bulk_part::held_record> bulk_part::views_of(const std::string& bytes) const {
  std::vector<held_record> views;
  views.reserve(ends_.size());
  const std::string_view all = bytes;
  std::size_t at = 0;
  for (const ends& e : ends_) {
    views.push_back({all.substr(at, e.key - at), all.substr(e.key, e.value - e.key)});
    at = e.value;
  }
  return views;
}

answer bulk_part::flush() {
  std::vector<load_record> records;
  records.reserve(ends_.size());
  for (const held_record& r : views_of(bytes_)) records.push_back({r.key, r.value});
  answer a = store_.run(loader_->add(records));
  if (!a.ok()) return a;
  bytes_.clear();
  ends_.clear();
  return a;
}

answer bulk_part::commit() {
  answer a = store_.run(loader_->commit(durability::durable));
  drop();
  return a;
}

void bulk_part::drop() {
  loader_.reset();
  bytes_.clear();
  ends_.clear();
}

void bulk_part::take_held(held_records& out) {
  out.to = tree_;
  out.bytes = std::move(bytes_);
  out.records = views_of(out.bytes);
  drop();
}

}  // namespace pleach::tool
