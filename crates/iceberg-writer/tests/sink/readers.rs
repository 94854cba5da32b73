//! Engines that we did not write read what we commit, snapshot by snapshot.
