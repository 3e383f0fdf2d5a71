// Trees of the public store: made, opened, dropped, listed; what their roots count.
#include <fmt/format.h>

#include <optional>

#include "btree/load_op.hh"
#include "store/drop_op.hh"
#include "store/state.hh"

namespace pleach {

using internal::body;
using internal::live;
using internal::operation_access;
using internal::refuse;
using internal::store_state;
using internal::tree_state;
using store_layer::core;

namespace {

class create_body final : public body {
 public:
  std::shared_ptr<store_state> store;
  std::optional<core::creation> under_way;  ///< of the store's core
  std::string name;
  btree::named_record record;
  tree* out = nullptr;
  btree::write_op op;
  sm::op& engine_op() override { return op; }
  void finish(answer& a) override {
    a.page = op.bad_page().raw;
    if (a.code != 0) return;
    auto t = std::make_shared<tree_state>();
    const std::string_view comparator(record.comparator,
                                      ::strnlen(record.comparator, sizeof record.comparator));
    t->open = store->c->tree_for(store->c, name, op.created(), comparator);
    PLEACH_ASSERT(t->open != nullptr);  // the comparator was there when the operation was made
    t->store = store;
    operation_access::set(*out, std::move(t));
  }
};

class open_body final : public body {
 public:
  std::shared_ptr<store_state> store;
  std::string name, value;
  tree* out = nullptr;
  btree::read_op op;
  sm::op& engine_op() override { return op; }
  void finish(answer& a) override {
    a.page = op.bad_page().raw;
    btree::tree_record rec;
    std::string_view comparator;
    if (a.code == static_cast<u32>(errc::not_found)) a.code = static_cast<u32>(errc::unknown_tree);
    if (a.code != 0) return;
    if (!btree::parse_tree_record(as_bytes(value), rec, &comparator)) {
      a.code = static_cast<u32>(errc::corrupt);
    } else if (rec.state != btree::TREE_LIVE) {
      a.code = static_cast<u32>(errc::unknown_tree);
    } else {
      auto t = std::make_shared<tree_state>();
      t->open = store->c->tree_for(store->c, name, rec, comparator);
      t->store = store;
      if (t->open != nullptr) return operation_access::set(*out, std::move(t));
      a.code = static_cast<u32>(errc::unknown_comparator);
      a.missing = store->c->missing(comparator);
    }
  }
};

class drop_body final : public body {
 public:
  std::unique_ptr<store_layer::drop_op> op;
  sm::op& engine_op() override { return *op; }
  void finish(answer& a) override { a.page = op->bad_page().raw; }
};

}  // namespace

operation store::create_tree(std::string_view name, const tree_options& o, tree& out) {
  store_state* s = state_.get();
  if (!live(s)) return operation_access::refuse(s, errc::tree_closed);
  if (s->c->options.read_only) return operation_access::refuse(s, errc::read_only);
  u32 blocks = o.node_bytes / block_bytes;
  if (name.size() > btree::max_tree_name_bytes) return operation_access::refuse(s, errc::too_large);
  bool sound = !name.empty() && blocks != 0 && (blocks & (blocks - 1)) == 0 &&
               o.node_bytes % block_bytes == 0 && blocks <= s->c->ctx->max_node_blocks;
  if (!sound) return operation_access::refuse(s, errc::bad_argument);
  const bool sums = o.key_checksums || o.value_checksums;
  if (o.leaf_version > 2 || (o.leaf_version == 1 && sums))
    return operation_access::refuse(s, errc::bad_argument);
  btree::tree_record asked{};
  if (o.key_checksums) asked.flags = asked.flags | btree::TREE_KEY_SUMS;
  if (o.value_checksums) asked.flags = asked.flags | btree::TREE_VALUE_SUMS;
  if (!btree::lengths_possible(blocks, o.key_bytes, o.value_bytes, btree::sum_bytes(asked)))
    return operation_access::refuse(s, errc::impossible_lengths);
  if (!btree::order_possible(static_cast<u32>(o.order), o.key_bytes))
    return operation_access::refuse(s, errc::impossible_order);
  const bool registered = o.order == key_order::registered;
  if (o.comparator.empty() == registered) return operation_access::refuse(s, errc::bad_argument);
  if (registered && !s->c->ctx->orders.contains(o.comparator))
    return operation_access::refuse(s, errc::unknown_comparator, {}, s->c->missing(o.comparator));
  return operation_access::with<create_body>(s, [&](create_body& b) {
    b.store = state_;
    b.under_way.emplace(*s->c);
    b.name = name;
    b.out = &out;
    btree::tree_record& record = b.record.record;
    record = asked;
    record.state = btree::TREE_LIVE;
    record.node_blocks = static_cast<u16>(blocks);
    record.order = static_cast<u16>(o.order);
    record.key_bytes = static_cast<u16>(o.key_bytes);
    record.value_bytes = static_cast<u16>(o.value_bytes);
    if (o.counted || o.digest) record.flags = record.flags | btree::TREE_COUNTED;
    if (o.digest) record.flags = record.flags | btree::TREE_DIGEST;
    if (!o.prefix_compression) record.flags = record.flags | btree::TREE_NO_PREFIX;
    if (!o.suffix_truncation) record.flags = record.flags | btree::TREE_NO_TRUNCATION;
    btree::choose_leaf_layout(record);
    o.comparator.copy(b.record.comparator, sizeof b.record.comparator);
    b.op.prepare(*s->c->catalogue, btree::change::CREATE_TREE, as_bytes(b.name),
                 {reinterpret_cast<const std::byte*>(&b.record),
                  sizeof(btree::tree_record) + o.comparator.size()},
                 nullptr, true);
    if (o.leaf_version == 1) b.op.leaf_format(btree::node_format_slotted);
  });
}

operation store::upgrade_catalogue(upgrade_report& report) {
  store_state* s = state_.get();
  report = {};
  if (!live(s)) return operation_access::refuse(s, errc::tree_closed);
  if (s->c->options.read_only) return operation_access::refuse(s, errc::read_only);
  return internal::upgrade(s, *s->c->catalogue, state_, report);
}

operation store::open_tree(std::string_view name, tree& out) {
  store_state* s = state_.get();
  if (!live(s)) return operation_access::refuse(s, errc::tree_closed);
  if (name.empty() || name.size() > btree::max_tree_name_bytes)
    return operation_access::refuse(s, errc::unknown_tree);
  return operation_access::with<open_body>(s, [&](open_body& b) {
    b.store = state_;
    b.name = name;
    b.out = &out;
    b.op.prepare(*s->c->catalogue, btree::seek::EXACT, as_bytes(b.name),
                 {nullptr, &b.value, nullptr});
  });
}

operation store::drop_tree(std::string_view name) {
  store_state* s = state_.get();
  if (!live(s)) return operation_access::refuse(s, errc::tree_closed);
  if (s->c->options.read_only) return operation_access::refuse(s, errc::read_only);
  if (name.empty() || name.size() > btree::max_tree_name_bytes)
    return operation_access::refuse(s, errc::unknown_tree);
  return operation_access::with<drop_body>(
      s, [&](drop_body& b) { b.op = std::make_unique<store_layer::drop_op>(s->c, name); });
}

std::expected<std::vector<tree_info>, error> store::trees() {
  store_state& s = *state_;
  if (errc e = s.check_blocking(); !is_ok(e))
    return refuse(e, fmt::format("listing trees: {}", sentence_of(e)));
  core& c = *s.c;
  std::vector<tree_info> found;
  std::string key, value, from;
  bool again = false;
  for (;;) {
    btree::read_op read;
    read.prepare(*c.catalogue, btree::seek::AT_LEAST, as_bytes(from), {&key, &value, nullptr});
    c.loop.start(read);
    if (status ran = c.loop.run_until(read); !ran)
      return refuse(ran.error(),
                    fmt::format("{}: listing trees: {}", s.path, sentence_of(ran.error())));
    if (read.out.code == errc::not_found) return found;
    if (!is_ok(read.out.code))
      return refuse(read.out.code,
                    fmt::format("{}: listing trees: {} (page {})", s.path,
                                sentence_of(read.out.code), read.bad_page().block()));
    btree::tree_record rec;
    std::string_view comparator;
    if (!btree::parse_tree_record(as_bytes(value), rec, &comparator))
      return refuse(errc::corrupt,
                    fmt::format("{}: corrupt: the catalogue's record of \"{}\"", s.path, key));
    const std::string behind = key + '\0';
    if (rec.state != btree::TREE_LIVE) {
      from = behind;
      continue;
    }
    tree_info info;
    info.name = key;
    info.id = rec.id;
    info.node_bytes = u32{rec.node_blocks} * block_bytes;
    info.key_bytes = rec.key_bytes;
    info.value_bytes = rec.value_bytes;
    info.key_checksums = (rec.flags & btree::TREE_KEY_SUMS) != 0;
    info.value_checksums = (rec.flags & btree::TREE_VALUE_SUMS) != 0;
    info.counted = (rec.flags & btree::TREE_COUNTED) != 0;
    info.digest = (rec.flags & btree::TREE_DIGEST) != 0;
    info.order = static_cast<key_order>(u16{rec.order});
    info.comparator = comparator;
    info.comparator_known = comparator.empty() || c.ctx->orders.contains(comparator);
    info.prefix_compression = (rec.flags & btree::TREE_NO_PREFIX) == 0;
    info.suffix_truncation = (rec.flags & btree::TREE_NO_TRUNCATION) == 0;
    btree::load_op load;
    cache::descriptor* d = load.fetch(*c.ctx, {page_addr(rec.root_addr), rec.root_gen});
    // It may have been dropped while its root was loaded: its record again.
    again = d == nullptr && !again;
    if (again) continue;
    if (d == nullptr)
      return refuse(load.out.code,
                    fmt::format("{}: {}: the root of tree \"{}\" (page {})", s.path,
                                sentence_of(load.out.code), key, page_addr(rec.root_addr).block()));
    sm::step_scope step;
    btree::node_view root(d->reader());
    info.records = root.node().record_count;
    info.bytes = root.node().byte_count;
    info.height = root.level() + 1;
    found.push_back(std::move(info));
    from = behind;
  }
}

namespace {
/// RETURNS: what `read` takes from the header of the tree's root page; 0 if it cannot be had.
template <class Read>
std::uint64_t from_root(const std::shared_ptr<tree_state>& t, Read&& read) {
  if (!is_ok(internal::check_tree(t, false)) || !is_ok(t->store->check_caller())) return 0;
  const page_ref root = t->open->t.root;
  btree::load_op load;
  cache::descriptor* d = t->store->c->pages->find_resident(root);
  if (d == nullptr) d = load.fetch(*t->store->c->ctx, root);
  sm::step_scope step;
  return d ? read(btree::node_view(d->reader()).node()) : 0;
}
}  // namespace

std::uint64_t tree::record_count() const {
  return from_root(state_, [](const btree::node_header& h) { return u64{h.record_count}; });
}

std::uint64_t tree::byte_count() const {
  return from_root(state_, [](const btree::node_header& h) { return u64{h.byte_count}; });
}

}  // namespace pleach
