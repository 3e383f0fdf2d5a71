#include "tests/sim/history.hh"

#include <algorithm>

namespace pleach::sim {

void history::reset(const forest& f) {
  trees_.clear();
  for (auto& [name, c] : f) {
    tree_history& t = in(name);
    for (auto& [k, v] : c) t[k].push_back({v, 0, ~u64{0}});
  }
}

void history::begin_write(const std::string& tree, const std::string& key, std::optional<value_t> v,
                          u64 transaction) {
  std::vector<version>& list = in(tree)[key];
  if (list.empty()) list.push_back({std::nullopt, 0, ~u64{0}});
  if (list.size() > 8)
    list.erase(list.begin(),
               list.begin() + static_cast<std::ptrdiff_t>(first_possible(list, oldest_)));
  list.push_back({v, ~u64{0}, transaction});
}

void history::finish(const transaction& t, bool applied, u64 clock) {
  for (const effect& e : t.effects) {
    if (e.kind != effect::SET && e.kind != effect::ERASE) continue;
    auto tree = trees_.find(e.tree);
    if (tree == trees_.end()) continue;
    auto key = tree->second.find(e.key);
    if (key == tree->second.end()) continue;
    for (auto v = key->second.begin(); v != key->second.end(); ++v) {
      if (v->transaction != t.number) continue;
      if (applied)
        v->visible_by = std::min(v->visible_by, clock);
      else
        key->second.erase(v);
      break;
    }
  }
}

void history::seen(const transaction& t, u64 clock) {
  if (t.visible_by <= clock) return;
  finish(t, true, clock);
}

const version* history::newest(const std::string& tree, const std::string& key) const {
  auto t = trees_.find(tree);
  if (t == trees_.end()) return nullptr;
  auto k = t->second.find(key);
  return k == t->second.end() || k->second.empty() ? nullptr : &k->second.back();
}

std::size_t history::first_possible(const std::vector<version>& v, u64 start) {
  std::size_t first = 0;
  for (std::size_t i = 0; i < v.size(); ++i)
    if (v[i].visible_by < start) first = i;
  return first;
}

const version* history::explain(const std::string& tree, const std::string& key, u64 start,
                                const std::optional<std::string>& found) const {
  static const version never{};
  auto t = trees_.find(tree);
  auto k = t == trees_.end() ? decltype(t->second.end()){} : t->second.find(key);
  if (t == trees_.end() || k == t->second.end()) return found ? nullptr : &never;
  const std::vector<version>& list = k->second;
  for (std::size_t i = first_possible(list, start); i < list.size(); ++i) {
    const version& v = list[i];
    if (v.value.has_value() != found.has_value()) continue;
    if (!found || same_value(*found, *v.value)) return &v;
  }
  return nullptr;
}

const version* history::explain_range(const std::string& tree, const std::string& key, u64 start,
                                      u64 offset, u64 total, const std::string& found) const {
  auto t = trees_.find(tree);
  if (t == trees_.end()) return nullptr;
  auto k = t->second.find(key);
  if (k == t->second.end()) return nullptr;
  const std::vector<version>& list = k->second;
  for (std::size_t i = first_possible(list, start); i < list.size(); ++i) {
    if (!list[i].value || list[i].value->length != total) continue;
    std::string all = make_value(*list[i].value);
    if (offset < all.size() ? all.compare(offset, found.size(), found) == 0 : found.empty())
      return &list[i];
  }
  return nullptr;
}

bool history::may_be_present(const std::vector<version>& v, u64 start) {
  for (std::size_t i = first_possible(v, start); i < v.size(); ++i)
    if (v[i].value) return true;
  return false;
}

const version* history::only_possible(const std::vector<version>& v, u64 start) {
  static const version never{};
  if (v.empty()) return &never;
  const std::size_t first = first_possible(v, start);
  return first + 1 == v.size() ? &v[first] : nullptr;
}

bool history::may_be_absent(const std::vector<version>& v, u64 start) {
  for (std::size_t i = first_possible(v, start); i < v.size(); ++i)
    if (!v[i].value) return true;
  return v.empty();
}

}  // namespace pleach::sim
