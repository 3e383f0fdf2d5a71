// mkfs below the trees. The order is what makes it safe: erase the old superblocks, flush; all
// else, flush; then the superblocks. All meaning of a superblock stands in its first 512 bytes, so
// that tearing a write of one over zeros, or of zeros over one, gives the one or the other.
#include <algorithm>

#include "be/block_buffer.hh"
#include "be/page.hh"
#include "be/space_policy.hh"
#include "be/volume.hh"

namespace pleach {

static_assert(offsetof(superblock, reserved) <= 512);

namespace {

using progress_fn = void (*)(u64 done, u64 total);

/// Several writes in flight; the first error ends it. I1: `finish` or the destructor waits for all
/// of them.
class write_window {
 public:
  write_window(sm::reactor& loop, io::device& dev, progress_fn progress, u64 total)
      : loop_(loop), dev_(dev), progress_(progress), total_(total) {}
  ~write_window() { wait_while(&any_busy); }
  write_window(const write_window&) = delete;
  write_window& operator=(const write_window&) = delete;

  /// Waits for a free slot.
  /// RETURNS: its own buffer of one block, to be passed to `write`.
  bytes staging() {
    wait_while(&all_busy);
    return staging_.part(idle_slot() * u64{block_bytes}, block_bytes);
  }
  /// Starts a write. OWNS: `data` is the last `staging()`, or lives until `finish`.
  void write(u64 block, bytes data) {
    wait_while(&all_busy);
    slot& s = slots_[idle_slot()];
    if (code_ != errc::ok) return;
    s.window = this;
    s.r.progress = 0;
    s.r.retries = 0;
    s.r.code = errc::ok;
    s.r.kind = io::request_kind::WRITE;
    s.r.offset = block << block_shift;
    s.r.length = data.size();
    s.r.data = data.data();
    s.r.owner = &s;
    s.r.done = &finished;
    s.busy = true;
    ++busy_;
    dev_.queue(s.r);
  }
  status finish() {
    wait_while(&any_busy);
    if (code_ != errc::ok) return fail(code_);
    return flush_device(loop_, dev_);
  }
  bool failed() const { return code_ != errc::ok; }

 private:
  static constexpr u32 depth = 8;
  struct slot {
    io::request r;
    write_window* window = nullptr;
    bool busy = false;
  };

  static bool all_busy(void* self) { return static_cast<write_window*>(self)->busy_ == depth; }
  static bool any_busy(void* self) { return static_cast<write_window*>(self)->busy_ != 0; }
  void wait_while(bool (*more)(void*)) {
    if (!more(this)) return;
    status s = loop_.run_while(more, this);
    PLEACH_ASSERT(s);  // else a device would write from dead memory
  }
  u32 idle_slot() const {
    u32 i = 0;
    while (slots_[i].busy) ++i;
    return i;
  }
  static void finished(io::request& r) {
    slot& s = *static_cast<slot*>(r.owner);
    write_window& w = *s.window;
    s.busy = false;
    --w.busy_;
    if (r.code != errc::ok && w.code_ == errc::ok) w.code_ = r.code;
    w.done_ += r.length >> block_shift;
    if (w.progress_) w.progress_(w.done_, w.total_);
  }

  sm::reactor& loop_;
  io::device& dev_;
  progress_fn progress_;
  u64 total_, done_ = 0;
  u32 busy_ = 0;
  errc code_ = errc::ok;
  std::array<slot, depth> slots_{};
  block_buffer staging_{depth * u64{block_bytes}};
};

superblock make_superblock(sm::environment& env, const geometry& g, const u8 (&uuid)[16]) {
  superblock s{};
  s.magic = superblock_magic;
  s.version = superblock_version;
  s.checksum_id = 1;
  s.block_shift = block_shift;
  std::copy(std::begin(uuid), std::end(uuid), s.uuid);
  s.generation = 1;
  s.blocks = g.blocks;
  s.group_blocks = g.group_blocks;
  s.root_block = root_block_number;
  s.max_node_blocks = static_cast<u16>(g.max_node_blocks);
  s.torn_mode = 1;
  s.device_count = 1;
  for (u32 i = 0; i < log_segments; ++i) {
    s.log[i].start = g.log[i].start;
    s.log[i].blocks = g.log[i].blocks;
  }
  s.first_seq = 1;
  s.base_lsn = format_lsn;
  s.clean_seq = 1;
  s.salt = new_salt(env, s);
  return s;
}

/// Marks the part of [start, start + blocks) that lies in the group as used.
void mark_used(bytes page, const superblock& s, u64 group, u64 start, u64 blocks) {
  u64 from = std::max(start, group * s.group_blocks);
  u64 to = std::min(start + blocks, (group + 1) * s.group_blocks);
  if (from >= to) return;
  u32 bit = static_cast<u32>(from - group * s.group_blocks);
  u32 count = static_cast<u32>(to - from);
  set_bits(page.data() + bits_range(bit, count).offset, bit, count, true);
}

void stamp_formatted(bytes page, page_addr addr, u64 store_id) {
  stamp(page, page_sum(page, page_seed(store_id, addr, format_generation)), format_lsn);
}

status erase_superblocks(sm::reactor& loop, io::device& dev) {
  block_buffer zeros(block_bytes);
  for (u32 i = 0; i < superblock_copies; ++i)
    if (status s = write_blocks(loop, dev, superblock_block(i), zeros.all(), false); !s) return s;
  return flush_device(loop, dev);
}

void zero_log(write_window& out, const geometry& g, block_buffer& zeros) {
  u64 unit = zeros.size() >> block_shift;
  for (const block_range& l : g.log)
    for (u64 at = 0; at < l.blocks && !out.failed(); at += unit)
      out.write(l.start + at, zeros.part(0, std::min(unit, l.blocks - at) << block_shift));
}

void write_bitmaps(write_window& out, const superblock& s,
                   std::span<const initial_page> initial_pages) {
  u64 groups = group_count(s.blocks, s.group_blocks);
  for (u64 group = 0; group < groups && !out.failed(); ++group) {
    bytes page = out.staging();
    format_bitmap(page, s, group, format_generation);
    for (const initial_page& p : initial_pages)
      mark_used(page, s, group, p.addr.block(), p.addr.blocks());
    page_addr addr(bitmap_block(group, s.group_blocks), 1);
    stamp_formatted(page, addr, load_le<u64>(s.uuid));
    out.write(addr.block(), page);
  }
}

void write_root(write_window& out, const superblock& s,
                std::span<const initial_page> initial_pages) {
  bytes page = out.staging();
  std::memset(page.data(), 0, page.size());
  page_addr addr(root_block_number, 1);
  u64 store_id = load_le<u64>(s.uuid);
  format_header(page, page_kind::root_block, root_format, addr, store_id, tree_none,
                format_generation, 0);
  auto& root = *reinterpret_cast<root_record*>(page.data());
  root.next_tree_id = tree_catalogue + 1;
  root.groups_formatted = group_count(s.blocks, s.group_blocks);
  root.volume_blocks = s.blocks;
  if (!initial_pages.empty()) {
    root.catalogue_root = initial_pages[0].addr.raw;
    root.catalogue_gen = format_generation;
  }
  stamp_formatted(page, addr, store_id);
  out.write(addr.block(), page);
}

status write_initial(sm::reactor& loop, io::device& dev, const superblock& s,
                     std::span<const initial_page> initial_pages) {
  for (const initial_page& p : initial_pages) {
    block_buffer image(p.addr.size());
    std::memcpy(image.data(), p.image, image.size());
    stamp_formatted(image.all(), p.addr, load_le<u64>(s.uuid));
    if (status w = write_blocks(loop, dev, p.addr.block(), image.all(), false); !w) return w;
  }
  return {};
}

/// RETURNS: true if every initial page lies within the volume, off the fixed areas, and on no other
/// one.
bool initial_pages_fit(const superblock& s, std::span<const initial_page> initial_pages) {
  block_buffer page(block_bytes);
  for (const initial_page& p : initial_pages) {
    u64 group = p.addr.block() / s.group_blocks;
    u64 bit = p.addr.block() % s.group_blocks;
    if (!p.addr || p.addr.block() >= s.blocks || bit + p.addr.blocks() > s.group_blocks)
      return false;
    std::memset(page.data(), 0, page.size());
    format_bitmap(page.all(), s, group, format_generation);
    for (const initial_page& q : initial_pages) {
      if (&q == &p) break;
      mark_used(page.all(), s, group, q.addr.block(), q.addr.blocks());
    }
    if (!all_free(page.all(), static_cast<u32>(bit), p.addr.blocks())) return false;
  }
  return true;
}

}  // namespace

void format_bitmap(bytes page, const superblock& s, u64 group, generation_t gen) {
  PLEACH_ASSERT(page.size() == block_bytes);
  std::memset(page.data(), 0, page.size());
  page_addr addr(bitmap_block(group, s.group_blocks), 1);
  format_header(page, page_kind::bitmap, bitmap_format, addr, load_le<u64>(s.uuid), tree_none, gen,
                0);
  mark_used(page, s, group, addr.block(), 1);
  mark_used(page, s, group, root_block_number, 1);
  for (u32 i = 0; i < superblock_copies; ++i) mark_used(page, s, group, superblock_block(i), 1);
  for (const log_segment& l : s.log) mark_used(page, s, group, l.start, l.blocks);
  mark_used(page, s, group, s.blocks, (group + 1) * s.group_blocks);
  // Bits behind the last block of the group, if groups are smaller than a page allows.
  if (u32 gap = group_blocks_max - static_cast<u32>(s.group_blocks); gap > 0) {
    u32 bit = static_cast<u32>(s.group_blocks);
    set_bits(page.data() + bits_range(bit, gap).offset, bit, gap, true);
  }
}

status format_volume(sm::reactor& loop, io::device& dev, const geometry& g, const u8 (&uuid)[16],
                     std::span<const initial_page> initial_pages,
                     void (*progress)(u64 done, u64 total)) {
  if (result<u32> round = loop.poll(); !round) return fail(round.error());
  if (dev.size() >> block_shift < g.blocks) return fail(errc::too_small);
  volume v;
  v.super = make_superblock(loop.env(), g, uuid);
  if (!initial_pages_fit(v.super, initial_pages)) return fail(errc::bad_argument);

  if (status s = erase_superblocks(loop, dev); !s) return s;
  {
    u64 unit = std::min<u64>(1 << 20, dev.limit().max_transfer) >> block_shift;
    block_buffer zeros(std::max<u64>(unit, 1) << block_shift);
    u64 total = g.log_blocks + group_count(g.blocks, g.group_blocks) + 1;
    write_window out(loop, dev, progress, total);
    zero_log(out, g, zeros);
    write_bitmaps(out, v.super, initial_pages);
    write_root(out, v.super, initial_pages);
    if (status s = write_initial(loop, dev, v.super, initial_pages); !s) return s;
    if (status s = out.finish(); !s) return s;
  }
  v.super.generation = 0;  // write_superblocks makes it 1
  return write_superblocks(loop, dev, v);
}

}  // namespace pleach
