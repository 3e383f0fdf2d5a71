#include "repair/repairer.hh"

#include <fmt/format.h>

#include <algorithm>

#include "be/page.hh"
#include "be/space_policy.hh"
#include "txn/recovery.hh"

namespace pleach::repair {

using namespace btree;

namespace {

tree_facts catalogue_of(const raw_store& s, const root_record& root) {
  tree_facts t;
  t.name = "(catalogue)";
  t.id = tree_catalogue;
  t.record.node_blocks = static_cast<u16>(std::min(4u, s.max_node_blocks()));
  t.root = {page_addr(root.catalogue_root), root.catalogue_gen};
  return t;
}

tree_facts facts_of(std::string name, const tree_record& r) {
  tree_facts t;
  t.name = std::move(name);
  t.id = r.id;
  t.record = r;
  t.root = {page_addr(r.root_addr), r.root_gen};
  t.has_order = r.order == ORDER_REGISTERED;
  return t;
}

constexpr page_addr root_block_address(root_block_number, 1);

}  // namespace

result<repair_totals> repairer::run(std::string& why) {
  result<volume> v = read_volume(loop_, dev_);
  if (!v) {
    why = sentence_of(v.error());
    return fail(v.error());
  }
  const std::array<copy_state, superblock_copies> copies = v->copy_states;
  const bool was_clean = v->super.clean_seq != 0;
  if (status s = apply_log(*v, why); !s) return fail(s.error());
  store_ = std::make_unique<raw_store>(loop_, dev_, *v);
  if (!was_clean || std::ranges::any_of(copies, [](copy_state c) { return c != copy_state::GOOD; }))
    if (status s = store_->begin(); !s) return fail(s.error());
  for (u32 copy = 0; copy < superblock_copies; ++copy)
    if (copies[copy] != copy_state::GOOD)
      journal_.fixed(fmt::format("superblock {}", copy), name_of(copies[copy]),
                     "written anew from the best one");
  reached_.reset(store_->blocks());
  space_ = std::make_unique<space_map>(*store_, reached_);
  walk_ = std::make_unique<tree_walk>(*store_, reached_, journal_);
  root_ = std::make_unique<page_buffer>(1);

  for (u32 copy = 0; copy < superblock_copies; ++copy) reached_.claim(superblock_block(copy), 1);
  reached_.claim(root_block_address);
  for (const log_segment& l : store_->vol.super.log)
    if (l.blocks != 0) reached_.claim(l.start, l.blocks);
  check_root_block();
  if (journal_.left != 0) return totals_;  // without it nothing else can be told
  walk_catalogue();
  walk_trees();
  if (walk_->stopped) return fail(errc::cancelled);
  recount();
  // What could not be repaired may own more than was reached.
  if (journal_.left == 0) space_->settle(journal_);
  totals_.trees = trees_.size() - 1;
  totals_.pages = walk_->pages;
  totals_.pages_written = store_->pages_written;
  if (status s = store_->end(); !s) return fail(s.error());
  return totals_;
}

/// After it the log is empty.
status repairer::apply_log(volume& v, std::string& why) {
  std::string words;
  txn::left_out left_out;
  const bool salvage = options_.salvage && journal_.may_all();
  result<txn::recovery_result> r =
      txn::recover(loop_, dev_, v, options_.index_bytes, options_.buffer_bytes, words,
                   salvage ? &left_out : nullptr);
  if (!r) {
    why = words;
    return fail(r.error());
  }
  for (const std::string& what : left_out) journal_.fixed("log", what, "given up");
  if (r->anything) totals_.recovery = words;
  if (v.super.clean_seq != 0) return {};
  // As an opening would: the numbers of groups that were lost with the tail stay lost. Not so those
  // that were given up: pages of theirs are home.
  if (left_out.empty() && r->next_lsn > r->last + 2)
    add_lost(v.super, r->last + 1, r->next_lsn - 2);
  v.super.clean_seq = r->next_seq;
  v.super.base_lsn = r->next_lsn - 1;
  return {};
}

// --- the root block ---

void repairer::check_root_block() {
  const generation_t gen = format_generation;
  const char* why = nullptr;
  if (status s = store_->read_page(root_block_address, &gen, *root_); !s)
    why = s.error() == errc::io ? "it cannot be read" : "its bytes are damaged";
  else if (root_->header().kind != static_cast<u16>(page_kind::root_block))
    why = "it is another page";
  const u64 groups = group_count(store_->blocks(), store_->vol.super.group_blocks);
  auto& r = *reinterpret_cast<root_record*>(root_->all().data());
  if (why == nullptr && (r.groups_formatted == 0 || r.groups_formatted > groups ||
                         r.volume_blocks > store_->blocks()))
    why = "it says what cannot be";
  if (why != nullptr) return rebuild_root_block(why);
  space_->load(r.groups_formatted);
}

/// What it says is found again: the catalogue's root and the greatest number of a tree by the nodes
/// that are there. All groups count as formatted: those without a bitmap get one.
void repairer::rebuild_root_block(const char* why) {
  if (!journal_.may_all()) return journal_.leave("root block", why);
  const volume& v = store_->vol;
  const u64 groups = group_count(v.super.blocks, v.super.group_blocks);
  space_->load(groups);
  found_nodes found = scan_pages(*store_, reached_, *space_, {}, journal_);
  const found_node* root = nullptr;
  for (const auto& [level, nodes] : found[tree_catalogue])
    for (const found_node& n : nodes)
      if (n.low.empty() && !n.has_high && n.ref.addr.blocks() == root_blocks) root = &n;
  const page_ref catalogue = root != nullptr ? root->ref : empty_catalogue();
  if (!catalogue)
    return journal_.leave("root block", fmt::format("{}; no root of a catalogue was found", why));
  root_->set_blocks(1);
  root_->clear();
  format_header(root_->all(), page_kind::root_block, root_format, root_block_address, v.store_id(),
                tree_none, format_generation, 0);
  auto& r = *reinterpret_cast<root_record*>(root_->all().data());
  // Numbers of trees are never used again, also not of those that nothing is left of.
  constexpr u64 room_for_dropped = 1 << 20;
  r.next_tree_id = std::max<u64>(found.rbegin()->first, tree_catalogue) + room_for_dropped;
  r.groups_formatted = groups;
  r.volume_blocks = v.super.blocks;
  r.catalogue_root = catalogue.addr.raw;
  r.catalogue_gen = catalogue.gen;
  if (!store_->write_page(*root_)) return journal_.leave("root block", "it cannot be written");
  journal_.fixed("root block", why, "put together from what is there");
}

/// A catalogue without a tree: all of them are lost ones.
page_ref repairer::empty_catalogue() {
  const page_addr at = space_->allocate(root_blocks);
  if (!at) return {};
  page_buffer page(1);
  page.clear();
  const page_ref ref{at, store_->generation()};
  format_root(page.writer(), at, store_->vol.store_id(), tree_catalogue, ref.gen);
  if (!store_->write_page(page)) return {};
  reached_.remove(at.block(), at.blocks());  // the walk comes by
  catalogue_lost_ = true;
  return ref;
}

// --- trees ---

void repairer::walk_catalogue() {
  trees_.push_back(catalogue_of(*store_, *reinterpret_cast<root_record*>(root_->all().data())));
  const tree_facts& catalogue = trees_.front();
  walk_->walk(catalogue);
  const bool damaged = !walk_->gaps.empty() || catalogue_lost_ || walk_->catalogue_lost_some;
  if (!walk_->gaps.empty()) fill_gaps({});
  walk_->each_record(catalogue.root, [&](cbytes key, cbytes value) {
    tree_record r;
    if (parse_tree_record(value, r) && r.state == TREE_LIVE)
      trees_.push_back(facts_of(std::string(as_text(key)), r));
  });
  if (damaged && journal_.may_all()) find_lost_trees();
}

void repairer::walk_trees() {
  // The catalogue comes first in the row, and is done.
  for (std::size_t i = 1; i < trees_.size() && !walk_->stopped; ++i) walk_->walk(trees_[i]);
  std::set<tree_id_t> wanted;
  for (const gap& g : walk_->gaps) wanted.insert(g.tree->id);
  if (!wanted.empty() && !walk_->stopped) fill_gaps(wanted);
}

/// `wanted`: trees that pages are looked for of; empty: all.
void repairer::fill_gaps(const std::set<tree_id_t>& wanted) {
  std::vector<gap>& gaps = walk_->gaps;
  if (!journal_.may_all()) {
    for (const gap& g : gaps)
      journal_.leave(
          fmt::format("{} of tree {}, {}", name_of(g.ref.addr), g.tree->name, range_of(g)), g.why);
    gaps.clear();
    return;
  }
  found_nodes found = scan_pages(*store_, reached_, *space_, wanted, journal_);
  mender mend(*store_, reached_, *space_, *walk_, found, journal_);
  // Those that the mender meets below what it finds come behind.
  for (std::size_t i = 0; i < gaps.size() && !walk_->stopped; ++i) {
    const gap g = gaps[i];
    mended_.insert(g.tree);
    if (const page_ref now = mend.fill(g); now && now != g.ref) refer(g, now);
  }
  gaps.clear();
}

/// What named the gap names the page that fills it.
void repairer::refer(const gap& g, page_ref to) {
  if (!g.parent) return set_root(g, to);
  page_buffer page(store_->max_node_blocks());
  if (store_->read_page(g.parent, page)) {
    set_child(page.writer(), g.child, to);
    if (store_->write_page(page)) return;
  }
  journal_.leave(fmt::format("{} of tree {}", name_of(g.parent.addr), g.tree->name),
                 "it cannot be written");
}

void repairer::set_root(const gap& g, page_ref to) {
  for (tree_facts& t : trees_)
    if (&t == g.tree) {
      t.root = to;
      t.record.root_addr = to.addr.raw;
      t.record.root_gen = to.gen;
      if (t.found) return;  // it is entered into the catalogue with this root
    }
  if (g.tree->id == tree_catalogue) {
    auto& r = *reinterpret_cast<root_record*>(root_->all().data());
    r.catalogue_root = to.addr.raw;
    r.catalogue_gen = to.gen;
    if (!store_->write_page(*root_)) journal_.leave("root block", "it cannot be written");
    return;
  }
  if (!walk_->set_tree_root(trees_.front().root, as_bytes(g.tree->name), to))
    journal_.leave("tree " + g.tree->name, "its record in the catalogue cannot be written");
}

/// Trees of which there are nodes, marked as used, but no record any more.
void repairer::find_lost_trees() {
  std::set<tree_id_t> known{tree_catalogue};
  for (const tree_facts& t : trees_) known.insert(t.id);
  const found_nodes found = scan_pages(*store_, reached_, *space_, {}, journal_);
  for (const auto& [id, nodes] : found) {
    tree_facts t;
    if (known.contains(id)) continue;
    if (!describe_tree(id, nodes, t)) {
      journal_.leave("tree " + t.name,
                     "the catalogue has no record of it, and its keys are in the "
                     "order of a comparator that nothing names");
      continue;
    }
    journal_.fixed("tree " + t.name, "the catalogue has no record of it", "entered again");
    trees_.push_back(std::move(t));
  }
}

/// What a tree was like, as far as its nodes tell. Its root may be lost: then a place is named
/// where none is, a gap like others. RETURNS: false if nobody can say how its keys are ordered.
bool repairer::describe_tree(tree_id_t id, const tree_nodes& nodes, tree_facts& out) {
  const found_node* root = nullptr;
  tree_record r{};
  r.node_blocks = 1;
  out.name = fmt::format("lost+found-tree-{}", id);
  for (const auto& [level, at_level] : nodes)
    for (const found_node& n : at_level) {
      r.node_blocks = static_cast<u16>(std::max<u32>(r.node_blocks, n.ref.addr.blocks()));
      if (n.low.empty() && !n.has_high && n.ref.addr.blocks() == root_blocks) root = &n;
    }
  const found_node& top = root != nullptr ? *root : nodes.rbegin()->second.front();
  if (top.shape.flags & NO_BYTE_ORDER) return false;
  page_ref at = top.ref;
  if (root == nullptr) {
    at = {space_->allocate(root_blocks), store_->generation()};
    if (at) reached_.remove(at.addr.block(), at.addr.blocks());  // the walk comes by
  }
  r.id = id;
  r.root_addr = at.addr.raw;
  r.root_gen = at.gen;
  r.state = TREE_LIVE;
  r.order = ORDER_BYTES;
  r.created_lsn = top.lsn;
  u32 flags = 0;
  if (top.shape.flags & NO_PREFIX) flags |= TREE_NO_PREFIX;
  if (top.shape.flags & NO_TRUNCATION) flags |= TREE_NO_TRUNCATION;
  if (top.shape.fixed()) {
    flags |= TREE_FIXED_LEAVES;
    r.key_bytes = top.shape.key_bytes;
    r.value_bytes = top.shape.value_bytes;
  }
  walk_->observe(top.ref, flags);
  r.flags = static_cast<u16>(flags);
  out = facts_of(out.name, r);
  out.found = true;
  return true;
}

std::vector<found_tree> repairer::trees_found() const {
  std::vector<found_tree> out;
  for (const tree_facts& t : trees_)
    if (t.found) out.push_back({t.name, t.record});
  return out;
}

void repairer::recount() {
  for (const tree_facts& t : trees_)
    if (mended_.contains(&t)) walk_->recount(t);
}

}  // namespace pleach::repair
