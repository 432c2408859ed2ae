"""An arena that hands out the best-fitting chunk, as ONNX Runtime's on the CPU does.

The rules (best fit with coalescing) and their constants are those of `onnxruntime/core/framework/bfc_arena.{h,cc}`,
which took them from TensorFlow; the code is our own.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field

#: Requests are rounded up to multiples of this many bytes (`kMinAllocationSize`).
ALIGNMENT_BYTES = 256
#: Size of the first region in bytes; each further one is twice as large (`kNextPowerOfTwo`).
FIRST_REGION_BYTES = 1 << 20
#: A chunk that is larger than asked for by this many bytes is always split (`max_dead_bytes_per_chunk`).
LARGEST_WASTE_BYTES = 128 << 20
#: Regions do not touch, so chunks of different regions never merge.
_REGION_STRIDE = 1 << 62


def rounded(size: int) -> int:
    """A size in bytes, rounded up to what the arena hands out."""
    return -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


@dataclass
class Arena:
    """Chunks of regions of memory, and what is in use of them.

    Attributes:
        in_use_bytes: handed out now: whole chunks, which can be almost twice as large as what was asked for.
        peak_bytes: most that was handed out at once.
        held_bytes: size of all regions and reservations.
        touched_bytes: the part of them that was ever asked for: up to the last byte of each region, and reservations.
            The system gives memory when it is written first, so this is what a process has of them.
    """

    in_use_bytes: int = 0
    peak_bytes: int = 0
    held_bytes: int = 0
    touched_bytes: int = 0
    _next_region_bytes: int = FIRST_REGION_BYTES
    _regions: int = 0
    _free: list[tuple[int, int]] = field(default_factory=list)  # (size, address), sorted
    _size: dict[int, int] = field(default_factory=dict)  # of every chunk, by address
    _ends: dict[int, int] = field(default_factory=dict)  # end of a free chunk -> its address
    _touched: dict[int, int] = field(default_factory=dict)  # bytes from the beginning, by region

    def reserve(self, size: int) -> None:
        """Take memory beside the regions, not rounded, for good."""
        self.held_bytes += size
        self.touched_bytes += size
        self._take(size)

    def allocate(self, size: int) -> int | None:
        """Address of a chunk of at least `size` bytes; None for 0 bytes, which take nothing."""
        if size == 0:
            return None
        wanted = rounded(size)
        place = bisect_left(self._free, (wanted, -1))
        if place == len(self._free):
            self._extend(wanted)
            place = bisect_left(self._free, (wanted, -1))
        found, address = self._free.pop(place)
        del self._ends[address + found]
        if found >= 2 * wanted or found - wanted >= LARGEST_WASTE_BYTES:
            self._put(address + wanted, found - wanted)
            found = wanted
        self._size[address] = found
        self._take(found)
        region, offset = divmod(address, _REGION_STRIDE)
        before = self._touched.get(region, 0)
        self._touched[region] = max(before, offset + size)
        self.touched_bytes += self._touched[region] - before
        return address

    def free(self, address: int | None) -> None:
        """Give a chunk back; it merges with free neighbours."""
        if address is None:
            return
        size = self._size.pop(address)
        self.in_use_bytes -= size
        after = self._size.get(address + size)
        if after is not None and self._ends.get(address + size + after) == address + size:
            self._remove(address + size, after)
            size += after
        before = self._ends.get(address)
        if before is not None:
            self._remove(before, address - before)
            address, size = before, size + address - before
        self._put(address, size)

    def _take(self, size: int) -> None:
        self.in_use_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.in_use_bytes)

    def _put(self, address: int, size: int) -> None:
        insort(self._free, (size, address))
        self._size[address] = size
        self._ends[address + size] = address

    def _remove(self, address: int, size: int) -> None:
        del self._free[bisect_left(self._free, (size, address))]
        del self._ends[address + size], self._size[address]

    def _extend(self, wanted: int) -> None:
        grown = wanted > self._next_region_bytes
        while wanted > self._next_region_bytes:
            self._next_region_bytes *= 2
        size = self._next_region_bytes
        if not grown:
            self._next_region_bytes *= 2
        self._put(self._regions * _REGION_STRIDE, size)
        self._regions += 1
        self.held_bytes += size


@dataclass
class OffsetPlan:
    """One block for all buffers of an inference: each gets the tightest gap that is free when it is asked for.

    As ONNX Runtime's memory pattern does from the second inference on (`mem_pattern_planner.h`).

    Attributes:
        block_bytes: size of the block.
    """

    block_bytes: int = 0
    _used: list[tuple[int, int, str]] = field(default_factory=list)  # (offset, end, name), sorted

    def allocate(self, name: str, size: int) -> None:
        """Place a buffer; `size` in bytes is rounded up as the arena does. 0 bytes take no place."""
        if size == 0:
            return
        wanted, cursor = rounded(size), 0
        best, waste = (self._used[-1][1] if self._used else 0), -1
        for offset, end, _ in self._used:
            gap = offset - cursor
            if gap >= wanted and (waste < 0 or gap - wanted < waste):
                best, waste = cursor, gap - wanted
            cursor = end
        insort(self._used, (best, best + wanted, name))
        self.block_bytes = max(self.block_bytes, best + wanted)

    def free(self, name: str) -> None:
        """Give the buffer's place back."""
        self._used = [entry for entry in self._used if entry[2] != name]
