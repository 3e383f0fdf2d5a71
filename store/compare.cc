// compare: divides ranges by digests, walks what is left.
//
//     compare(range):
//       if both trees have digests:
//         if the digests of the range agree: done
//         if neither is empty there, and the first tree has a separator within:
//           compare(what is below it); compare(what is not)
//           done
//       walk both, merging
#include "pleach/compare.hh"

#include <fmt/format.h>

#include <optional>
#include <vector>

#include "store/state.hh"

namespace pleach {

using internal::body;
using internal::operation_access;

namespace {

struct key_range {
  std::string from;
  std::string to;  ///< empty: no bound
};

class middle_body final : public body {
 public:
  std::shared_ptr<internal::tree_state> tree;
  internal::given_key from, to;
  std::string* key = nullptr;
  btree::aggregate_op op;
  sm::op& engine_op() override { return op; }
  void finish(answer& a) override {
    a.page = op.bad_page().raw;
    const btree::tree& t = tree->open->t;
    if (a.code != 0 || !internal::has_integers(t)) return;
    // The least integer that is not below the separator, which may be shorter.
    key->resize(t.key_bytes, '\0');
    internal::turn_out(t, key->data());
  }
};

/// A separator of `t` strictly within the range, near its middle; not_found if there is none.
operation middle(const tree& t, const key_range& r, std::string& key) {
  const auto& state = operation_access::state_of(t);
  internal::store_state* s = state ? state->store.get() : nullptr;
  if (errc e = internal::check_tree(state, false); !is_ok(e)) return operation_access::refuse(s, e);
  return operation_access::with<middle_body>(s, [&](middle_body& b) {
    btree::tree& open = state->open->t;
    b.tree = state;
    b.key = &key;
    b.from.set(open, r.from);
    b.to.set(open, r.to);
    const cbytes to = b.to.bytes();
    b.op.prepare_middle(open, b.from.bytes(), r.to.empty() ? nullptr : &to, key);
  });
}

class comparison {
 public:
  comparison(store& a, tree& ta, store& b, tree& tb,
             const std::function<bool(const differing_record&)>& tell, const compare_options& o)
      : store_{&a, &b}, tree_{&ta, &tb}, tell_(tell), options_(o) {}

  std::expected<compare_result, error> run() {
    for (int i : {0, 1})
      if (errc e = internal::check_tree(operation_access::state_of(*tree_[i]), false); !is_ok(e))
        return std::unexpected(
            error{static_cast<u32>(e), fmt::format("comparing trees: {}", sentence_of(e))});
    const bool digests =
        !options_.ignore_digests && tree_[0]->has_digest() && tree_[1]->has_digest();
    if (tree_[0]->order() != tree_[1]->order() ||
        (tree_[0]->order() != key_order::raw && tree_[0]->key_bytes() != tree_[1]->key_bytes()))
      return std::unexpected(error{static_cast<u32>(errc::bad_argument),
                                   "comparing trees: their keys have different orders"});
    if (comparator(0) != comparator(1))
      return std::unexpected(
          error{static_cast<u32>(errc::bad_argument),
                fmt::format(
                    "comparing trees: their keys are ordered by different comparators, \"{}\" and "
                    "\"{}\"",
                    comparator(0), comparator(1))});
    most_ranges_ = 2 * (tree_[0]->record_count() + 1);
    todo_.push_back({});
    while (!todo_.empty() && !ended_) {
      const key_range r = std::move(todo_.back());
      todo_.pop_back();
      const bool left = digests ? divide(r) : true;
      if (left && !fault_ && !ended_) walk(r);
      if (fault_) return std::unexpected(*fault_);
    }
    return result_;
  }

 private:
  /// RETURNS: true if the range is left to be walked.
  bool divide(const key_range& r) {
    if (stopped()) return false;
    range_digest d[2];
    for (int i : {0, 1})
      if (!good(i, store_[i]->run(tree_[i]->digest(r.from, r.to, d[i])))) return false;
    ++result_.ranges;
    if (d[0] == d[1]) return false;
    if (!tell_) {
      result_.same = false;
      ended_ = true;
      return false;
    }
    if (d[0].count == 0 || d[1].count == 0 || result_.ranges > most_ranges_) return true;
    std::string key;
    const answer a = store_[0]->run(middle(*tree_[0], r, key));
    if (a.what() == category::not_found) return true;
    if (!good(0, a)) return false;
    const bool within = order(r.from, key) < 0 && (r.to.empty() || order(key, r.to) < 0);
    if (!within) return true;
    todo_.push_back({key, r.to});
    todo_.push_back({r.from, key});
    return false;
  }

  void walk(const key_range& r) {
    cursor at[2] = {cursor(*tree_[0]), cursor(*tree_[1])};
    for (int i : {0, 1}) {
      at[i].range(r.from, r.to);
      if (!arrived(i, store_[i]->run(at[i].first()))) return;
      result_.records += at[i].valid();
    }
    while ((at[0].valid() || at[1].valid()) && !stopped()) {
      const bool only_one = !at[0].valid() || !at[1].valid();
      const int c = only_one ? (at[0].valid() ? -1 : 1) : order(at[0].key(), at[1].key());
      if (c < 0)
        differs({difference::first_only, at[0].key(), at[0].value(), {}});
      else if (c > 0)
        differs({difference::second_only, at[1].key(), {}, at[1].value()});
      else if (at[0].value() != at[1].value())
        differs({difference::changed, at[0].key(), at[0].value(), at[1].value()});
      if (ended_) return;
      if (c <= 0 && !step(0, at[0])) return;
      if (c >= 0 && !step(1, at[1])) return;
    }
  }

  /// Key order of the trees; of the first one's comparator, if they have one. The empty key is
  /// below all others.
  int order(std::string_view a, std::string_view b) const {
    const auto& state = operation_access::state_of(*tree_[0]);
    if (state == nullptr) return a.compare(b);
    const btree::tree& t = state->open->t;
    internal::given_key x, y;
    x.set(t, a);
    y.set(t, b);
    return t.compare(x.bytes(), y.bytes());
  }

  /// The name under which the tree's comparator is registered; empty if it has none.
  std::string_view comparator(int i) const {
    const auto& state = operation_access::state_of(*tree_[i]);
    if (state == nullptr || state->open->t.order == nullptr) return {};
    for (const auto& [name, order] : state->open->t.ctx->orders)
      if (&order == state->open->t.order) return name;
    return {};
  }

  bool step(int i, cursor& c) {
    if (!c.try_next() && !arrived(i, store_[i]->run(c.next()))) return false;
    result_.records += c.valid();
    return true;
  }

  void differs(const differing_record& r) {
    result_.same = false;
    if (!tell_) {
      ended_ = true;
      return;
    }
    ++result_.differences;
    ended_ = !tell_(r);
  }

  bool stopped() {
    if (!options_.stop || !options_.stop()) return false;
    fault_ = error{static_cast<u32>(errc::cancelled), "comparing trees: cancelled"};
    return true;
  }
  /// The end of a tree is a place to arrive at.
  bool arrived(int i, const answer& a) { return a.what() == category::not_found || good(i, a); }
  bool good(int i, const answer& a) {
    if (a.ok()) return true;
    const std::string path = operation_access::state_of(*store_[i])->path;
    fault_ = error{a.code, path + ": comparing tree " + tree_[i]->name() + ": " + a.text()};
    return false;
  }

  store* store_[2];
  tree* tree_[2];
  const std::function<bool(const differing_record&)>& tell_;
  const compare_options& options_;
  std::vector<key_range> todo_;  ///< the lowest range last
  /// More than there are separators to divide at: then a comparator contradicts itself.
  std::uint64_t most_ranges_ = 0;
  compare_result result_;
  std::optional<error> fault_;
  bool ended_ = false;
};

}  // namespace

std::expected<compare_result, error> compare(
    store& first_store, tree& first, store& second_store, tree& second,
    const std::function<bool(const differing_record&)>& tell, const compare_options& options) {
  return comparison(first_store, first, second_store, second, tell, options).run();
}

}  // namespace pleach
