// The numbers of the protocol; p2p_copy/protocol/limits.py gives the reason for each. A test compares both.

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

export const PROTOCOL_VERSION = 1;
export const MAX_HANDSHAKE_MESSAGE = KIB;
export const MAX_CAPABILITIES = 512;
export const RECORD_HEADER = 16;
export const RECORD_TAG = 16;
export const MAX_RECORD_CONTENT = MIB;
export const MAX_RECORD_HOLES = 256 * MIB;
export const MAX_RECORD_MESSAGES = 1024;
export const REKEY_RECORDS = 2 ** 22;
export const REKEY_BYTES = 64 * GIB;
export const SEGMENT = 16 * MIB;
export const DIGEST = 32;
export const MAX_NAME = 255;
export const MAX_PATH = 4096;
export const MAX_DEPTH = 64;
export const MAX_PAGE_ENTRIES = 256;
export const MAX_PREVIEW_ENTRIES = 100;
export const MAX_OPEN_ENTRIES = 1024;
export const MAX_LINKS = 16;
export const MULTIPATH_BYTES = 32 * MIB;
export const MULTIPATH_RECORDS = 1024;
export const MAX_TEXT = 500;
export const MAX_HELLO = 2 * KIB;
export const REDIAL_AFTER = 60;
export const LEAST_REDIAL = 10;
export const CODE_WORDS = 5;
export const MIN_CODE_WORDS = 4;
export const MAX_CODE_WORDS = 12;
export const MIN_OWN_SECRET = 8;
export const MAX_CODE = 200;
