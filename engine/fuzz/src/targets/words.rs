//! What culvertd says, from somebody who isn't culvertd: no line ends the packet process, and no error quotes one.

use culvert_engine::control;

pub fn judge(line: &[u8]) {
    if let Err(sentence) = control::parse(line) {
        assert_eq!(sentence, "not a message between culvertd and the packet process");
    }
}
