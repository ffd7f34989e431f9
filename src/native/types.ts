/**
 * The narrow seam around the kernel: what the addon (`tidesman.node`, C++) and its in-memory twin (`fake.ts`) both
 * offer. One JavaScript call per batch, typed arrays, no object per packet. One conformance suite runs on both.
 */

// ------------------------------------------------------------------------------------------------ packet queue

/** Indexes into one packet's row of `PacketQueue.meta` (unsigned 32-bit, host order). */
export const PACKET = {
  /** Kernel packet id, for a deferred verdict. */
  ID: 0,
  /** EtherType of the payload (0x0800, 0x86dd). */
  PROTOCOL: 1,
  /** Netfilter hook number. */
  HOOK: 2,
  /** skb mark at the hook. */
  MARK: 3,
  /** Interface indexes; 0 when absent. PHYS_* are the bridge ports. */
  IN_DEVICE: 4,
  OUT_DEVICE: 5,
  PHYS_IN_DEVICE: 6,
  PHYS_OUT_DEVICE: 7,
  /** Payload: offset in `slab`, bytes there, and bytes the packet really has. */
  OFFSET: 8,
  CAPTURED: 9,
  LENGTH: 10,
  /** `enum ip_conntrack_info` when the kernel sent conntrack attributes, else 0xffffffff. */
  CONNTRACK_INFO: 11,
  /** Offset in `slab` of the raw NFQA_CT attribute payload and its length; 0 when absent. */
  CONNTRACK_OFFSET: 12,
  CONNTRACK_LENGTH: 13,
  /** NFQA_SKB_INFO bits. */
  SKB_INFO: 14,
  STRIDE: 16,
} as const;

/**
 * Indexes into one packet's row of `PacketQueue.verdicts`. Every row stands undecided when the callback begins; one that
 * it leaves so, or fills with a code that is none of NF, takes `failVerdict`. When it throws, rows left PENDING take
 * `failVerdict` too, since nobody may have noted their ids.
 */
export const VERDICT = {
  /** One of NF, or PENDING to answer later through `verdict()`. */
  CODE: 0,
  /** 1 to set the mark. */
  SET_MARK: 1,
  MARK: 2,
  STRIDE: 3,
} as const;

/** Netfilter verdicts, linux/netfilter.h. */
export const NF = { DROP: 0, ACCEPT: 1, REPEAT: 4, PENDING: 0xffffffff } as const;

export interface PacketQueueOptions {
  /** NFQUEUE number, 0–65535. */
  readonly queue: number;
  /** Bytes of payload copied to user space. */
  readonly copyRange: number;
  /** Packets the kernel holds before the queue counts as full. */
  readonly maxLength: number;
  /** NFQA_CFG_F_FAIL_OPEN: accept instead of drop when the queue is full. */
  readonly failOpen: boolean;
  /** Ask for conntrack attributes; ignored (see `conntrack`) where the kernel answers EOPNOTSUPP. */
  readonly conntrack: boolean;
  /** Most packets handed over in one call. */
  readonly batch: number;
  /** Socket receive buffer, bytes (SO_RCVBUFFORCE). */
  readonly receiveBuffer: number;
  /** Verdict (NF.DROP or NF.ACCEPT) for packets left undecided: the callback threw, or the queue was closed. */
  readonly failVerdict: number;
}

export interface PacketQueueStats {
  readonly packets: number;
  readonly batches: number;
  readonly pending: number;
  readonly truncated: number;
  readonly malformed: number;
  /** Packets that the kernel could not hand over because the socket buffer was full; the fail-open flag decided them. */
  readonly overruns: number;
  readonly sendErrors: number;
  readonly verdictErrors: number;
  readonly callbackErrors: number;
  /** What the callback threw last; empty when it never did. */
  readonly lastError: string;
}

export interface PacketQueue {
  readonly slab: Uint8Array;
  readonly meta: Uint32Array;
  readonly verdicts: Uint32Array;
  /** Whether the kernel agreed to send conntrack attributes. */
  readonly conntrack: boolean;
  /** Decides one packet that a batch left PENDING. Unknown ids are counted as verdict errors. */
  verdict(id: number, code: number, setMark: boolean, mark: number): void;
  stats(): PacketQueueStats;
  close(): void;
}

// ------------------------------------------------------------------------------------------------ UDP

/** Indexes into one slot's row of `UdpArena.meta` (signed 32-bit, host order unless said). */
export const SLOT = {
  /** Bytes received; 0 when the datagram was longer than the slot (counted as truncated). */
  RECEIVED: 0,
  /** Bytes to send. */
  LENGTH: 1,
  /** 4 or 6. */
  FAMILY: 2,
  /** Peer port, host order. */
  PEER_PORT: 3,
  /** Peer address, four words in network byte order (memory order); IPv4 uses the first. */
  PEER_ADDRESS: 4,
  /** IPV6 scope id of the peer. */
  PEER_SCOPE: 8,
  /** Ingress interface index (IP_PKTINFO / IPV6_PKTINFO); 0 on connected sockets. */
  INTERFACE: 9,
  /** Address the datagram was sent to, and the reply leaves from; as PEER_ADDRESS. */
  LOCAL_ADDRESS: 10,
  STRIDE: 16,
} as const;

export interface UdpArenaOptions {
  /** Slots and bytes per slot. Slots are numbered from 0; `memory` holds `slots * slotSize` bytes. */
  readonly slots: number;
  readonly slotSize: number;
  /** Room for sends listed by one callback. */
  readonly maxSends: number;
  /** Rounds of recvmmsg before the event loop gets a turn. */
  readonly rounds: number;
}

export interface UdpSocketOptions {
  readonly family: 4 | 6;
  /** Bind address and port; port 0 lets the kernel choose a random one. */
  readonly address: string;
  readonly port: number;
  /** Connect to a peer; then only its datagrams arrive. */
  readonly peer?: { readonly address: string; readonly port: number };
  /** Where received datagrams go: slots `firstSlot … firstSlot + batch - 1`. Sockets may share them. */
  readonly firstSlot: number;
  readonly batch: number;
  /** Bytes asked for with SO_RCVBUFFORCE / SO_SNDBUFFORCE. */
  readonly buffer: number;
  readonly reusePort?: boolean;
  /** An already bound descriptor (systemd socket activation) instead of a new socket; duplicated, not taken over. */
  readonly fd?: number;
  /** SO_MARK for what the socket sends. */
  readonly mark?: number;
}

export interface UdpArenaStats {
  readonly received: number;
  readonly sent: number;
  readonly batches: number;
  readonly truncated: number;
  /** Listed sends that did not leave: slot, socket, length or family out of range, or refused by the kernel. */
  readonly sendErrors: number;
  /** ICMP "port unreachable" answers to connected sockets (ECONNREFUSED). */
  readonly refused: number;
  readonly callbackErrors: number;
  /** What the callback threw last; empty when it never did. */
  readonly lastError: string;
}

/**
 * UDP sockets over one arena of memory. `onBatch(socket, count)`: `count` datagrams stand in the socket's first
 * `count` slots. What the callback wants sent it lists: `list(slot, socket)` after setting LENGTH (and the peer fields,
 * which a received slot already has); on return the list is sent with as few sendmmsg calls as it allows.
 */
export interface UdpArena {
  readonly memory: Uint8Array;
  readonly meta: Int32Array;
  /** Pairs (slot, socket); `control[0]` is the number of pairs. Written by `list`, or directly on a hot path. */
  readonly sends: Int32Array;
  readonly control: Int32Array;
  open(options: UdpSocketOptions): UdpSocket;
  /** Appends one pair to `sends`; when the list is full, what stands in it is sent first. */
  list(slot: number, socket: number): void;
  /** Sends what is listed now; for use outside a callback (timers, TCP answers). */
  flush(): void;
  stats(): UdpArenaStats;
  close(): void;
}

export interface UdpSocket {
  /** Number of the socket in its arena, from 0. */
  readonly index: number;
  readonly port: number;
  /** ICMP "port unreachable" answers so far; connected sockets only. */
  readonly refused: number;
  close(): void;
}

// ------------------------------------------------------------------------------------------------ listening sockets

/** Indexes into one socket's row of `Native.listeners` (unsigned 32-bit, host order unless said). */
export const LISTENER = {
  /** IP protocol number: 6 or 17. */
  PROTOCOL: 0,
  /** 4 or 6. A socket of family 6 on the unspecified address may take IPv4 too. */
  FAMILY: 1,
  PORT: 2,
  /** As in the link `socket:[INODE]` of /proc/PID/fd; 0 when no process holds it. */
  INODE: 3,
  UID: 4,
  /** Interface that it is bound to; 0: any. */
  INTERFACE: 5,
  /** Four words in network byte order (memory order); IPv4 uses the first. */
  ADDRESS: 6,
  STRIDE: 10,
} as const;

// ------------------------------------------------------------------------------------------------ links, sets, connections

export interface Link {
  readonly index: number;
  readonly name: string;
  /** IFLA_LINK: interface index of the veth peer in its own namespace; 0 when none. */
  readonly peer: number;
  /** IFLA_MASTER: the bridge it is a port of; 0 when none. */
  readonly master: number;
  /** `bridge`, `veth`, `macvlan`, …; empty when the kernel names none. */
  readonly kind: string;
  readonly up: boolean;
  /** `aa:bb:cc:dd:ee:ff`, or empty. */
  readonly hardwareAddress: string;
  /** With prefix lengths: `172.17.0.2/16`, `fe80::1/64`. */
  readonly addresses: readonly string[];
}

/** Bytes of one row of flows to look up. Ports and addresses in network order; an IPv4 address uses the first four bytes. */
export const FLOW = {
  /** 4 or 6. */
  FAMILY: 0,
  PROTOCOL: 1,
  /** One of FLOW_STATE. */
  STATE: 2,
  SOURCE_PORT: 4,
  PORT: 6,
  SOURCE: 8,
  DESTINATION: 24,
  /** Of a flow that is there: its destination as the host's NAT has translated it, or the same. */
  TRANSLATED: 40,
  TRANSLATED_PORT: 56,
  STRIDE: 60,
} as const;

/**
 * `GONE`: there is no entry. That is so where the first packet never left the host, and where the only answer was a
 * reset (nf_conntrack_proto_tcp.c drops the entry with it). `ANSWERED`: the other side has sent something (IPS_SEEN_REPLY);
 * ICMP errors do not count. `UNKNOWN`: the kernel gave no answer.
 */
export const FLOW_STATE = { UNKNOWN: 0, GONE: 1, UNANSWERED: 2, ANSWERED: 3 } as const;

export interface Native {
  /** Throws TM_NATIVE_* errors: missing, not permitted, queue taken, not supported by the kernel. */
  openPacketQueue(options: PacketQueueOptions, onBatch: (count: number) => void): PacketQueue;
  openUdpArena(options: UdpArenaOptions, onBatch: (socket: number, count: number) => void): UdpArena;
  /** Interfaces of a network namespace (a path such as /proc/1/ns/net), or of our own when omitted. */
  links(namespace?: string): readonly Link[];
  /**
   * Brings a link of our own namespace up or takes it down, by its interface index. The other end of a veth that is down
   * has no carrier: nothing passes in either direction, under whatever address.
   */
  setLink(index: number, up: boolean): void;
  /** Calls back (coalesced) whenever links or addresses of our own namespace change. Returns the unsubscriber. */
  watchLinks(onChange: () => void): () => void;
  /**
   * Adds one address or prefix to an ipset over netlink, or refreshes it; about a microsecond-scale syscall, safe on the
   * data thread. `timeout` in seconds for sets that have one. Throws TM_NATIVE_IPSET with the errno's name.
   */
  ipsetAdd(set: string, entry: string, timeout?: number): void;
  /** Removes an entry; no error when it is not there. */
  ipsetDelete(set: string, entry: string): void;
  /**
   * Deletes every conntrack entry whose original source or destination is `address`; with a `port` only those that
   * `address` itself opened to that destination port. Returns how many.
   */
  conntrackDelete(address: string, port?: number): number;
  /** Sets the bits `mask` of the mark to `mark` on every conntrack entry with original source `address`. Returns how many. */
  conntrackMark(address: string, mark: number, mask: number): number;
  /**
   * Looks up flows by the tuple of their first packet and writes the state of each, and of those that are there where they
   * lead: `count` rows of FLOW, at most 4096.
   * One system call for 32 rows and one for each answer, 2 to 6 microseconds a row; safe on the data thread.
   */
  conntrackStates(flows: Uint8Array, count: number): void;
  /** Destroys (SOCK_DESTROY) all TCP sockets in a network namespace, so that peers get a reset. Returns how many. */
  resetConnections(namespace: string): number;
  /**
   * TCP sockets in LISTEN and UDP sockets that are bound and not connected, of the network namespace at that path: one row
   * of LISTENER for each, at most 4096 of a protocol and family. The rows keep their order while nothing changes, so two
   * lists can be compared as they are.
   */
  listeners(namespace: string): Uint32Array;
  /**
   * Calls back whenever the open file has something to read, for files that Node cannot wait for (a trace_pipe). Returns
   * the unsubscriber, which leaves the descriptor open.
   */
  watchReadable(descriptor: number, onReadable: () => void): () => void;
}
